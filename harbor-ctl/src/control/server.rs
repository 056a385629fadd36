//! Routes, checks and errors of the control API.
//!
//! Every error leaves in one shape; every change leaves an audit line with the peer's credentials.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{
        ConnectInfo, DefaultBodyLimit, Path, Query, Request, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse, Json, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::net::UnixListener;

use super::{
    Answer, Operations,
    access::{Tokens, authorize},
    failure::failure,
    page::page,
    wire::{BackendItem, ErrorBody, FlowItem, List, PortItem, ServiceItem},
};
use crate::{
    http::{Peer, TcpSide},
    model::{PortRef, Refusal, RefusalKind},
};

const BODY_LIMIT: usize = 64 * 1024;
/// A request that takes longer is answered with a timeout; a change it began is still finished.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Serves the control socket until `stop` resolves and open requests are answered.
pub(crate) async fn serve<O: Operations>(
    listener: UnixListener,
    operations: O,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router(operations).into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service)
        .with_graceful_shutdown(stop)
        .await
}

/// Serves the TCP side, which asks for tokens or certificates.
pub(crate) async fn serve_tcp<O: Operations>(
    listener: TcpSide,
    tokens: Tokens,
    operations: O,
) -> std::io::Result<()> {
    let guard = middleware::from_fn_with_state(Arc::new(tokens), authorize);
    let service = router(operations)
        .layer(guard)
        .into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).await
}

/// All routes.
fn router<O: Operations>(operations: O) -> Router {
    Router::new()
        .route("/v1/services", get(list_services::<O>))
        .route("/v1/ports", get(list_ports::<O>).post(create_port::<O>))
        .route(
            "/v1/ports/{port}",
            get(show_port::<O>)
                .patch(set_port::<O>)
                .delete(delete_port::<O>),
        )
        .route("/v1/ports/{port}/drain", post(drain_port::<O>))
        .route("/v1/ports/{port}/resume", post(resume_port::<O>))
        .route("/v1/range", get(show_range::<O>))
        .route(
            "/v1/backends",
            get(list_backends::<O>).post(add_backend::<O>),
        )
        .route("/v1/backends/remove", post(remove_backend::<O>))
        .route("/v1/backends/drain", post(drain_backend::<O>))
        .route("/v1/backends/check", post(check_backends::<O>))
        .route("/v1/flows", get(list_flows::<O>))
        .route("/v1/flows/kill", post(kill_flows::<O>))
        .route("/v1/explain", post(explain::<O>))
        .route("/v1/config", get(show_config::<O>))
        .route("/v1/config/{key}", axum::routing::put(set_config::<O>))
        .route("/v1/status", get(show_status::<O>))
        .merge(super::shared_routes::routes::<O>())
        .merge(super::binding_routes::routes::<O>())
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<O>))
        .fallback(async || failure(Refusal::new(RefusalKind::NotFound, "no such path")))
        .method_not_allowed_fallback(async || {
            let text = "this path does not know that method";
            let body = ErrorBody::from(Refusal::new(RefusalKind::Invalid, text));
            (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
        })
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(super::announce_routes::routes::<O>())
        .merge(super::shared_routes::long_routes::<O>())
        .layer(middleware::from_fn(bound_and_audit))
        .with_state(Arc::new(operations))
}

pub(super) type Shared<O> = State<Arc<O>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pub(super) limit: Option<usize>,
    #[serde(rename = "continue")]
    pub(super) token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortQuery {
    port: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "continue")]
    token: Option<String>,
}

impl PortQuery {
    fn reference(&self) -> Answer<Option<PortRef>> {
        self.port.as_deref().map(PortRef::parse).transpose()
    }
}

async fn list_services<O: Operations>(
    State(operations): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |s: &ServiceItem| format!("{:05} {:?} {}", s.port, s.protocols, s.id);
        page(
            "ServiceList",
            operations.services().await?,
            key,
            (query.limit, query.token),
        )
    })
    .await
}

async fn list_ports<O: Operations>(
    State(operations): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |p: &PortItem| format!("{:05} {:?} {}", p.port, p.protocols, p.id);
        page(
            "PortList",
            operations.ports().await?,
            key,
            (query.limit, query.token),
        )
    })
    .await
}

async fn show_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.port(PortRef::parse(&port)?).await }).await
}

async fn create_port<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    let response = answer(async { o.create_port(parsed(body)?).await }).await;
    match response.status() {
        StatusCode::OK => (StatusCode::CREATED, response).into_response(),
        _ => response,
    }
}

async fn set_port<O: Operations>(
    State(o): Shared<O>,
    Path(port): Path<String>,
    body: Body,
) -> Response {
    answer(async { o.set_port(PortRef::parse(&port)?, parsed(body)?).await }).await
}

async fn delete_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.delete_port(PortRef::parse(&port)?).await }).await
}

async fn drain_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.drain_port(PortRef::parse(&port)?, true).await }).await
}

async fn resume_port<O: Operations>(State(o): Shared<O>, Path(port): Path<String>) -> Response {
    answer(async { o.drain_port(PortRef::parse(&port)?, false).await }).await
}

async fn show_range<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.range()).await
}

async fn list_backends<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<PortQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        // Order of first registration within a port: the first is UDP's primary.
        let items = o
            .backends(query.reference()?)
            .await?
            .into_iter()
            .enumerate()
            .collect();
        let key = |(index, b): &(usize, BackendItem)| format!("{:05} {index:06}", b.port);
        let List {
            api_version,
            kind,
            items,
            next,
        } = page("BackendList", items, key, (query.limit, query.token))?;
        let items = items.into_iter().map(|(_, item)| item).collect();
        Ok(List {
            api_version,
            kind,
            items,
            next,
        })
    })
    .await
}

async fn add_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.add_backend(parsed(body)?).await }).await
}

async fn remove_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.remove_backend(parsed(body)?).await }).await
}

async fn drain_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.drain_backend(parsed(body)?).await }).await
}

async fn check_backends<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async {
        Ok(List::of(
            "CheckList",
            o.check_backends(parsed(body)?).await?,
        ))
    })
    .await
}

async fn list_flows<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<PortQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let items = o.flows(query.reference()?).await?;
        let key = |item: &FlowItem| {
            let flow = &item.flow;
            format!(
                "{:05} {} {} {}",
                item.port, flow.protocol, flow.client, flow.source
            )
        };
        page("FlowList", items, key, (query.limit, query.token))
    })
    .await
}

async fn kill_flows<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.kill_flows(parsed(body)?).await }).await
}

async fn explain<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.explain(parsed(body)?).await }).await
}

async fn show_config<O: Operations>(State(o): Shared<O>) -> Response {
    answer(async { Ok(List::of("ConfigList", o.config().await?)) }).await
}

async fn set_config<O: Operations>(
    State(o): Shared<O>,
    Path(key): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        let super::wire::SetConfig { value } = parsed(body)?;
        o.set_config(key, value).await
    })
    .await
}

async fn show_status<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.status()).await
}

async fn ready<O: Operations>(State(o): Shared<O>) -> Response {
    match o.is_ready().await {
        true => "ok\n".into_response(),
        false => failure(
            Refusal::new(RefusalKind::NotReady, "ports are not forwarded").fix("harbor-ctl status"),
        ),
    }
}

pub(super) type Body = Result<Bytes, BytesRejection>;

pub(super) fn parsed<T: DeserializeOwned>(body: Body) -> Answer<T> {
    parsed_within(body, BODY_LIMIT)
}

/// For a route with another limit.
pub(super) fn parsed_within<T: DeserializeOwned>(body: Body, limit: usize) -> Answer<T> {
    let bytes = body.map_err(|_| too_long(limit))?;
    serde_json::from_slice(&bytes).map_err(|error| from_serde(&error.to_string()))
}

pub(super) fn too_long(limit: usize) -> Refusal {
    let text = format!("the request's body is longer than {limit} bytes");
    Refusal::new(RefusalKind::BodyTooLarge, text)
}

pub(super) fn checked<T>(query: Result<Query<T>, QueryRejection>) -> Answer<T> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| from_serde(&rejection.body_text()))
}

/// serde names the field between backticks: "unknown field `x`, expected one of ...".
fn from_serde(message: &str) -> Refusal {
    let text: String = message.chars().take(400).collect();
    let kind = match message.contains("unknown field") {
        true => RefusalKind::UnknownField,
        false => RefusalKind::Invalid,
    };
    let refusal = Refusal::new(kind, text);
    let named = message.contains("unknown field") || message.contains("missing field");
    match message.split('`').nth(1).filter(|_| named) {
        Some(field) => refusal.field(field),
        None => refusal,
    }
}

pub(super) async fn answer<T: Serialize>(operation: impl Future<Output = Answer<T>>) -> Response {
    match operation.await {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => failure(refusal),
    }
}

async fn bound_and_audit(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let peer = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .map(|info| info.0);
    let response = match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => failure(Refusal::new(
            RefusalKind::Timeout,
            "the agent took too long",
        )),
    };
    if method != Method::GET {
        let peer = peer.map(|peer| peer.to_string()).unwrap_or_default();
        let status = response.status().as_u16();
        tracing::info!(%method, path, status, "change requested, {peer}");
    }
    response
}
