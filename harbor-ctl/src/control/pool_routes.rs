//! Routes of pools and their shares.

use std::sync::Arc;

use axum::{
    extract::{Path, State},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    extract::{Body, parsed},
    operations::Operations,
    server::{Shared, answer},
};
use crate::{
    api::{AddShare, CreatePool, EngineText, JoinPool, List, MoveShare, PoolItem, ShareReady},
    http::described,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_pools, create_pool))
        .routes(described!(O: show_pool, delete_pool))
        .routes(described!(O: join_pool))
        .routes(described!(O: leave_pool))
        .routes(described!(O: engine_of_pool))
        .routes(described!(O: add_share))
        .routes(described!(O: remove_share))
        .routes(described!(O: move_share))
        .routes(described!(O: ready_share))
}

/// Every pool.
#[utoipa::path(
    get,
    path = "/v1/pools",
    tag = "pools",
    responses((status = 200, description = "as it is", body = List<PoolItem>), NotTold),
)]
async fn list_pools<O: Operations>(State(o): Shared<O>) -> Response {
    answer(async { Ok(List::of("PoolList", o.pools().await?)) }).await
}

/// One pool.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}",
    tag = "pools",
    params(("name" = String, Path, description = "the pool's name")),
    responses((status = 200, description = "as it is", body = PoolItem), NotTold),
)]
async fn show_pool<O: Operations>(State(o): Shared<O>, Path(name): Path<String>) -> Response {
    answer(o.pool(name)).await
}

/// Creates a pool without shares.
#[utoipa::path(
    post,
    path = "/v1/pools",
    tag = "pools",
    request_body = CreatePool,
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn create_pool<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.create_pool(parsed(body)?).await }).await
}

/// Deletes a pool that has neither ports nor shares.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}",
    tag = "pools",
    params(("name" = String, Path, description = "the pool's name")),
    responses((status = 200, description = "as it was", body = PoolItem), Refused),
)]
async fn delete_pool<O: Operations>(State(o): Shared<O>, Path(name): Path<String>) -> Response {
    answer(o.delete_pool(name)).await
}

/// Makes a node the last in the order of every share of a pool.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/join",
    tag = "pools",
    params(("name" = String, Path, description = "the pool's name")),
    request_body = JoinPool,
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn join_pool<O: Operations>(
    State(o): Shared<O>,
    Path(name): Path<String>,
    body: Body,
) -> Response {
    answer(async { o.join_pool(name, parsed(body)?).await }).await
}

/// Takes a node out of every share of a pool; one that holds a share is refused.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/leave",
    tag = "pools",
    params(("name" = String, Path, description = "the pool's name")),
    request_body = JoinPool,
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn leave_pool<O: Operations>(
    State(o): Shared<O>,
    Path(name): Path<String>,
    body: Body,
) -> Response {
    answer(async { o.leave_pool(name, parsed(body)?).await }).await
}

/// A configuration for what moves the pool's addresses, as the node that is asked needs it.
#[utoipa::path(
    get,
    path = "/v1/pools/{name}/engine/{engine}",
    tag = "pools",
    params(
        ("name" = String, Path, description = "the pool's name"),
        ("engine" = String, Path, description = "keepalived"),
    ),
    responses((status = 200, description = "the file", body = EngineText), NotTold),
)]
async fn engine_of_pool<O: Operations>(
    State(o): Shared<O>,
    Path((name, engine)): Path<(String, String)>,
) -> Response {
    answer(o.engine_of_pool(name, engine)).await
}

/// Adds a share to a pool.
#[utoipa::path(
    post,
    path = "/v1/pools/{name}/shares",
    tag = "pools",
    params(("name" = String, Path, description = "the pool's name")),
    request_body = AddShare,
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn add_share<O: Operations>(
    State(o): Shared<O>,
    Path(name): Path<String>,
    body: Body,
) -> Response {
    answer(async { o.add_share(name, parsed(body)?).await }).await
}

/// Takes a share out of a pool.
#[utoipa::path(
    delete,
    path = "/v1/pools/{name}/shares/{id}",
    tag = "pools",
    params(
        ("name" = String, Path, description = "the pool's name"),
        ("id" = String, Path, description = "the share"),
    ),
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn remove_share<O: Operations>(
    State(o): Shared<O>,
    Path((name, id)): Path<(String, String)>,
) -> Response {
    answer(o.remove_share(name, id)).await
}

/// Says where a share is to be; what moves addresses follows by asking whether each node is ready.
#[utoipa::path(
    post,
    path = "/v1/shares/{id}/move",
    tag = "pools",
    params(("id" = String, Path, description = "the share")),
    request_body = MoveShare,
    responses((status = 200, description = "done", body = PoolItem), Refused),
)]
async fn move_share<O: Operations>(
    State(o): Shared<O>,
    Path(id): Path<String>,
    body: Body,
) -> Response {
    answer(async { o.move_share(id, parsed(body)?).await }).await
}

/// Whether the node that is asked may have a share now.
#[utoipa::path(
    get,
    path = "/v1/shares/{id}/ready",
    tag = "pools",
    params(("id" = String, Path, description = "the share")),
    responses((status = 200, description = "as it is", body = ShareReady), NotTold),
)]
async fn ready_share<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.ready_share(id)).await
}
