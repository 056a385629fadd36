//! Routes that add, remove and check backends.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    extract::{Body, PortQuery, checked, parsed},
    operations::Operations,
    page::page,
    server::{Shared, answer},
};
use crate::{
    api::{AddBackend, BackendItem, CheckBackends, CheckItem, List, NameBackend},
    http::described,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_backends, add_backend))
        .routes(described!(O: remove_backend))
        .routes(described!(O: drain_backend))
        .routes(described!(O: check_backends))
}

/// Backends of one port or of all, in the order of their registration.
#[utoipa::path(
    get,
    path = "/v1/backends",
    tag = "backends",
    params(PortQuery),
    responses((status = 200, description = "as it is", body = List<BackendItem>), NotTold),
)]
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
            ..
        } = page("BackendList", items, key, (query.limit, query.token))?;
        let items = items.into_iter().map(|(_, item)| item).collect();
        Ok(List {
            api_version,
            kind,
            items,
            next,
            warning: o.unlisted().await,
        })
    })
    .await
}

/// Adds a backend without a lease, or changes its weight.
#[utoipa::path(
    post,
    path = "/v1/backends",
    tag = "backends",
    request_body = AddBackend,
    responses((status = 200, description = "done", body = BackendItem), Refused),
)]
async fn add_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.add_backend(parsed(body)?).await }).await
}

/// Removes a backend; its flows drain, or end at once.
#[utoipa::path(
    post,
    path = "/v1/backends/remove",
    tag = "backends",
    request_body = NameBackend,
    responses((status = 200, description = "done", body = BackendItem), Refused),
)]
async fn remove_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.remove_backend(parsed(body)?).await }).await
}

/// Gives a backend no new flows; it stays registered.
#[utoipa::path(
    post,
    path = "/v1/backends/drain",
    tag = "backends",
    request_body = NameBackend,
    responses((status = 200, description = "done", body = BackendItem), Refused),
)]
async fn drain_backend<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.drain_backend(parsed(body)?).await }).await
}

/// Asks every backend of a port whether it is well; changes nothing.
#[utoipa::path(
    post,
    path = "/v1/backends/check",
    tag = "backends",
    request_body = CheckBackends,
    responses((status = 200, description = "done", body = List<CheckItem>), Refused),
)]
async fn check_backends<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async {
        Ok(List::of(
            "CheckList",
            o.check_backends(parsed(body)?).await?,
        ))
    })
    .await
}
