//! Routes, checks and errors of the control API.
//!
//! Every error leaves in one shape; every answer has its time; every change leaves an audit line, and an
//! event, with the peer's credentials.

use std::{future::pending, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Json, Response},
    routing::get,
};
use serde::Serialize;
use tokio::{net::UnixListener, sync::Semaphore};
use utoipa_axum::router::OpenApiRouter;

use super::{
    access::{ANNOUNCING, Access, Admitted, Tokens, authorize},
    error::failure,
    extract::BODY_LIMIT,
    groups::{Groups, admit},
    openapi,
    operations::{Answer, Operations},
};
use crate::{
    api::ErrorBody,
    http::{self, Door, Names, Peer, Requester, Strangers, TcpSide, asked_by, served, untold},
    model::{EventKind, Happening, HttpLimits, Refusal, RefusalKind, Subject},
};

/// A request that takes longer is answered with a timeout; a change it began is still finished.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);
/// Requests that are answered at once, without those of app hosts.
const AT_ONCE: usize = 64;

/// Serves the control socket, for whom its groups let in, until `stop` resolves and open requests are answered.
pub(crate) async fn serve<O: Operations>(
    (listener, groups): (UnixListener, Groups),
    (operations, limits): (O, HttpLimits),
    stop: impl Future<Output = ()>,
) {
    let doorkeeper = (groups, strangers(&operations));
    let guard = middleware::from_fn_with_state(Arc::new(doorkeeper), admit);
    let router = router(operations).layer(guard);
    http::serve(Door::Socket(listener), router, limits, stop).await;
}

/// Serves the TCP side, which asks for tokens or certificates, until the runtime ends.
pub(crate) async fn serve_tcp<O: Operations>(
    listener: TcpSide,
    (tokens, names): (Tokens, Names),
    (operations, limits): (O, HttpLimits),
) {
    let access = Access {
        tokens,
        names: (!listener.has_tls()).then_some(names),
        strangers: strangers(&operations),
    };
    let guard = middleware::from_fn_with_state(Arc::new(access), authorize);
    let router = router(operations).layer(guard);
    http::serve(Door::Network(listener), router, limits, pending()).await;
}

/// Those who are not let in stand in the log and among the events.
fn strangers<O: Operations>(operations: &O) -> Strangers {
    let events = operations.events();
    let tell = move |text: &str| {
        events.tell(Happening::new(
            EventKind::RequestRefused,
            Subject::default(),
            text,
        ));
    };
    Strangers::new(|text| tracing::warn!("{text}"), tell)
}

/// All routes, and the document that describes them.
fn router<O: Operations>(operations: O) -> Router {
    let operations = Arc::new(operations);
    let audit = middleware::from_fn_with_state(Arc::clone(&operations), audit::<O>);
    let (router, mut document) = OpenApiRouter::with_openapi(openapi::document())
        .merge(super::port_routes::routes::<O>())
        .merge(super::backend_routes::routes::<O>())
        .merge(super::flow_routes::routes::<O>())
        .merge(super::datapath_routes::routes::<O>())
        .merge(super::trace_routes::routes::<O>())
        .merge(super::config_routes::routes::<O>())
        .merge(super::shared_routes::routes::<O>())
        .merge(super::pool_routes::routes::<O>())
        .merge(super::binding_routes::routes::<O>())
        .merge(super::event_routes::routes::<O>())
        .merge(super::health_routes::routes::<O>())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(super::announce_routes::routes::<O>())
        .merge(super::shared_routes::long_routes::<O>())
        .split_for_parts();
    openapi::complete(&mut document);
    router
        .route(openapi::PLACE, get(async move || served(&document)))
        .fallback(async || failure(Refusal::new(RefusalKind::NotFound, "no such path")))
        .method_not_allowed_fallback(async || {
            let text = "this path does not know that method";
            let body = ErrorBody::from(Refusal::new(RefusalKind::Invalid, text));
            (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
        })
        .layer(middleware::from_fn_with_state(turn(), in_turn))
        .layer(middleware::from_fn(in_time))
        .layer(audit)
        .with_state(operations)
}

pub(super) type Shared<O> = State<Arc<O>>;

pub(super) async fn answer<T: Serialize>(operation: impl Future<Output = Answer<T>>) -> Response {
    match operation.await {
        Ok(value) => Json(value).into_response(),
        Err(refusal) => failure(refusal),
    }
}

/// What asks for no change, or says again and again what the answer's own events tell of.
const UNAUDITED: [&str; 4] = [
    "/v1/announce",
    "/v1/heartbeat",
    "/v1/explain",
    "/v1/backends/check",
];

/// Writes down who has asked for which change, and what became of it.
async fn audit<O: Operations>(
    State(o): Shared<O>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let admitted = request.extensions().get::<Admitted>();
    let requester = Requester::new(Some(&peer), admitted.map(|Admitted(by)| by.clone()));
    let work = async {
        let response = next.run(request).await;
        if !UNAUDITED.contains(&path.as_str())
            && let Some(untold) = untold(&method, &path, &response)
        {
            o.events().tell(untold);
        }
        response
    };
    let response = asked_by(Some(requester), work).await;
    if !matches!(method, Method::GET | Method::HEAD) {
        let status = response.status().as_u16();
        tracing::info!(%method, path, status, "change requested, {peer}");
    }
    response
}

/// How many requests may be answered at once besides what app hosts say.
fn turn() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(AT_ONCE))
}

/// What app hosts say goes before everything else: the rest waits until there are few of it.
async fn in_turn(State(turn): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let _turn = match ANNOUNCING.contains(&request.uri().path()) {
        true => None,
        false => turn.acquire().await.ok(),
    };
    next.run(request).await
}

/// A late answer is an answer.
async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => failure(Refusal::new(
            RefusalKind::Timeout,
            "the agent took too long",
        )),
    }
}
