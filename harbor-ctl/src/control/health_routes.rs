//! Routes for monitoring: liveness, readiness, metrics.

use std::sync::Arc;

use axum::{
    extract::State,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, failure},
    operations::Operations,
    server::Shared,
};
use crate::{
    http::described,
    metrics::response,
    model::{Refusal, RefusalKind},
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: live))
        .routes(described!(O: ready))
        .routes(described!(O: metrics))
}

/// Whether the agent lives; the one question that needs no token.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "status",
    security(()),
    responses((status = 200, description = "it does", body = String, content_type = "text/plain"), NotTold),
)]
async fn live<O: Operations>(State(_): Shared<O>) -> Response {
    "ok\n".into_response()
}

/// Whether ports are served and changes taken; if not, why.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "status",
    responses((status = 200, description = "they are", body = String, content_type = "text/plain"), NotTold),
)]
async fn ready<O: Operations>(State(o): Shared<O>) -> Response {
    match o.not_ready().await {
        None => "ok\n".into_response(),
        Some(why) => failure(Refusal::new(RefusalKind::NotReady, why).fix("harbor-ctl status")),
    }
}

/// Metrics, as OpenMetrics for those who accept it, else in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    responses((status = 200, description = "as of now", body = String, content_type = "text/plain"), NotTold),
)]
async fn metrics<O: Operations>(State(o): Shared<O>, headers: HeaderMap) -> Response {
    response(&*o, &headers).await
}
