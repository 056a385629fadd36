//! Routes, checks and errors of the control API.
//!
//! Every error leaves in one shape; every change leaves an audit line, and an event,
//! with the peer's credentials.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Json, Response},
    routing::get,
};
use serde::Serialize;
use tokio::net::UnixListener;
use utoipa_axum::router::OpenApiRouter;

use super::{
    Answer, Groups, Operations,
    access::{Admitted, Tokens, authorize},
    described,
    failure::failure,
    groups::admit,
    question::BODY_LIMIT,
    wire::ErrorBody,
};
use crate::{
    http::{Peer, Requester, TcpSide, asked_by, served, untold},
    model::{Refusal, RefusalKind},
};

/// A request that takes longer is answered with a timeout; a change it began is still finished.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Serves the control socket, for whom its groups let in, until `stop` resolves and open requests are answered.
pub(crate) async fn serve<O: Operations>(
    (listener, groups): (UnixListener, Groups),
    operations: O,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let guard = middleware::from_fn_with_state(Arc::new(groups), admit);
    let service = router(operations)
        .layer(guard)
        .into_make_service_with_connect_info::<Peer>();
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

/// All routes, and the document that describes them.
fn router<O: Operations>(operations: O) -> Router {
    let operations = Arc::new(operations);
    let audit = middleware::from_fn_with_state(Arc::clone(&operations), bound_and_audit::<O>);
    let (router, mut document) = OpenApiRouter::with_openapi(described::document())
        .merge(super::port_routes::routes::<O>())
        .merge(super::backend_routes::routes::<O>())
        .merge(super::flow_routes::routes::<O>())
        .merge(super::config_routes::routes::<O>())
        .merge(super::shared_routes::routes::<O>())
        .merge(super::binding_routes::routes::<O>())
        .merge(super::event_routes::routes::<O>())
        .merge(super::probe_routes::routes::<O>())
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .merge(super::announce_routes::routes::<O>())
        .merge(super::shared_routes::long_routes::<O>())
        .split_for_parts();
    described::complete(&mut document);
    router
        .route(described::PLACE, get(async move || served(&document)))
        .fallback(async || failure(Refusal::new(RefusalKind::NotFound, "no such path")))
        .method_not_allowed_fallback(async || {
            let text = "this path does not know that method";
            let body = ErrorBody::from(Refusal::new(RefusalKind::Invalid, text));
            (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
        })
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

async fn bound_and_audit<O: Operations>(
    State(o): Shared<O>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let extensions = request.extensions();
    let peer = extensions.get::<ConnectInfo<Peer>>().map(|info| &info.0);
    let admitted = extensions.get::<Admitted>();
    let requester = Requester::new(peer, admitted.map(|Admitted(by)| (*by).to_owned()));
    let peer = peer.map(ToString::to_string).unwrap_or_default();
    let work = async {
        let work = tokio::time::timeout(REQUEST_LIMIT, next.run(request));
        let response = work.await.unwrap_or_else(|_| {
            let text = "the agent took too long";
            failure(Refusal::new(RefusalKind::Timeout, text))
        });
        if !UNAUDITED.contains(&path.as_str())
            && let Some(untold) = untold(&method, &path, &response)
        {
            o.events().tell(untold);
        }
        response
    };
    let response = asked_by(Some(requester), work).await;
    if method != Method::GET {
        let status = response.status().as_u16();
        tracing::info!(%method, path, status, "change requested, {peer}");
    }
    response
}
