//! Routes of nodes and of the state as a whole.

use std::sync::Arc;

use axum::{
    extract::{DefaultBodyLimit, Path, State},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    extract::{Body, parsed, parsed_within},
    operations::Operations,
    server::{Shared, answer},
};
use crate::{
    api::{
        AttachNode, BackupItem, DetachNode, List, NodeItem, NodeMoved, ServiceCount, StateCheck,
        StateDocument,
    },
    http::described,
};

/// A state of ten thousand ports with twenty backends each.
const STATE_LIMIT: usize = 64 * 1024 * 1024;

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_nodes))
        .routes(described!(O: attach))
        .routes(described!(O: detach))
        .routes(described!(O: show_node, forget_node))
        .routes(described!(O: drain_node))
        .routes(described!(O: resume_node))
        .routes(described!(O: export_state))
        .routes(described!(O: check_state))
        .routes(described!(O: backup_state))
        .routes(described!(O: confirm_state))
}

/// The one route whose body may be long.
pub(super) fn long_routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: import_state))
        .layer(DefaultBodyLimit::max(STATE_LIMIT))
}

/// Every node that shares the registry.
#[utoipa::path(
    get,
    path = "/v1/nodes",
    tag = "nodes",
    responses((status = 200, description = "as it is", body = List<NodeItem>), NotTold),
)]
async fn list_nodes<O: Operations>(State(o): Shared<O>) -> Response {
    answer(async { Ok(List::of("NodeList", o.nodes().await?)) }).await
}

/// One node.
#[utoipa::path(
    get,
    path = "/v1/nodes/{id}",
    tag = "nodes",
    params(("id" = String, Path, description = "the node's name")),
    responses((status = 200, description = "as it is", body = NodeItem), NotTold),
)]
async fn show_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.node(id)).await
}

/// Gives a node no new ports.
#[utoipa::path(
    post,
    path = "/v1/nodes/{id}/drain",
    tag = "nodes",
    params(("id" = String, Path, description = "the node's name")),
    responses((status = 200, description = "done", body = NodeItem), Refused),
)]
async fn drain_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.drain_node(id, true)).await
}

/// Gives a node new ports again.
#[utoipa::path(
    post,
    path = "/v1/nodes/{id}/resume",
    tag = "nodes",
    params(("id" = String, Path, description = "the node's name")),
    responses((status = 200, description = "done", body = NodeItem), Refused),
)]
async fn resume_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.drain_node(id, false)).await
}

/// Releases the ports of a node that is away for good.
#[utoipa::path(
    delete,
    path = "/v1/nodes/{id}",
    tag = "nodes",
    params(("id" = String, Path, description = "the node's name")),
    responses((status = 200, description = "done", body = ServiceCount), Refused),
)]
async fn forget_node<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.forget_node(id)).await
}

/// Makes this node share a registry, with the next restart.
#[utoipa::path(
    post,
    path = "/v1/nodes/attach",
    tag = "nodes",
    request_body = AttachNode,
    responses((status = 200, description = "done", body = NodeMoved), Refused),
)]
async fn attach<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.attach(parsed(body)?).await }).await
}

/// Makes this node keep its ports by itself, with the next restart.
#[utoipa::path(
    post,
    path = "/v1/nodes/detach",
    tag = "nodes",
    request_body = DetachNode,
    responses((status = 200, description = "done", body = NodeMoved), Refused),
)]
async fn detach<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.detach(parsed(body)?).await }).await
}

/// The registry as one document.
#[utoipa::path(
    get,
    path = "/v1/state",
    tag = "state",
    responses((status = 200, description = "as it is", body = StateDocument), NotTold),
)]
async fn export_state<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.export_state()).await
}

/// Takes a document in, whole or not at all.
#[utoipa::path(
    post,
    path = "/v1/state/import",
    tag = "state",
    request_body = StateDocument,
    responses((status = 200, description = "done", body = ServiceCount), Refused),
)]
async fn import_state<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.import_state(parsed_within(body, STATE_LIMIT)?).await }).await
}

/// Compares registry, journal and kernel.
#[utoipa::path(
    get,
    path = "/v1/state/check",
    tag = "state",
    responses((status = 200, description = "as it is", body = StateCheck), NotTold),
)]
async fn check_state<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.check_state()).await
}

/// Copies the registry into a file of its own.
#[utoipa::path(
    post,
    path = "/v1/state/backup",
    tag = "state",
    responses((status = 200, description = "done", body = BackupItem), Refused),
)]
async fn backup_state<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.backup_state()).await
}

/// Removes what the registry does not have any more.
#[utoipa::path(
    post,
    path = "/v1/state/confirm",
    tag = "state",
    responses((status = 200, description = "done", body = ServiceCount), Refused),
)]
async fn confirm_state<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.confirm_state()).await
}
