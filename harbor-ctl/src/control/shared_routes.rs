//! Routes of nodes and of the state as a whole.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State},
    response::Response,
    routing::{get, post},
};

use super::{
    Operations,
    server::{Body, Shared, answer, parsed, parsed_within},
    wire::List,
};

/// A state of ten thousand ports with twenty backends each.
const STATE_LIMIT: usize = 64 * 1024 * 1024;

pub(super) fn routes<O: Operations>() -> Router<Arc<O>> {
    Router::new()
        .route("/v1/nodes", get(list_nodes::<O>))
        .route("/v1/nodes/attach", post(attach::<O>))
        .route("/v1/nodes/detach", post(detach::<O>))
        .route(
            "/v1/nodes/{id}",
            get(show_node::<O>).delete(forget_node::<O>),
        )
        .route("/v1/nodes/{id}/drain", post(drain_node::<O>))
        .route("/v1/nodes/{id}/resume", post(resume_node::<O>))
        .route("/v1/state", get(export::<O>))
        .route("/v1/state/check", get(check::<O>))
        .route("/v1/state/backup", post(backup::<O>))
        .route("/v1/state/confirm", post(confirm::<O>))
}

/// The one route whose body may be long.
pub(super) fn long_routes<O: Operations>() -> Router<Arc<O>> {
    Router::new()
        .route("/v1/state/import", post(import::<O>))
        .layer(DefaultBodyLimit::max(STATE_LIMIT))
}

async fn list_nodes<O: Operations>(State(o): Shared<O>) -> Response {
    answer(async { Ok(List::of("NodeList", o.nodes().await?)) }).await
}

async fn show_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.node(id)).await
}

async fn drain_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.drain_node(id, true)).await
}

async fn resume_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.drain_node(id, false)).await
}

async fn forget_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.forget_node(id)).await
}

async fn attach<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.attach(parsed(body)?).await }).await
}

async fn detach<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.detach(parsed(body)?).await }).await
}

async fn export<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.export_state()).await
}

async fn import<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.import_state(parsed_within(body, STATE_LIMIT)?).await }).await
}

async fn check<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.check_state()).await
}

async fn backup<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.backup_state()).await
}

async fn confirm<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.confirm_state()).await
}
