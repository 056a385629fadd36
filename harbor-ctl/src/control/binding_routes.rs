//! Routes that list the credentials that platforms' apps were given.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::NotTold,
    extract::{PageQuery, checked},
    operations::Operations,
    page::page,
    server::{Shared, answer},
};
use crate::{
    api::{BindingItem, List},
    http::described,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_bindings))
        .routes(described!(O: show_binding))
}

/// What platforms were promised.
#[utoipa::path(
    get,
    path = "/v1/bindings",
    tag = "bindings",
    params(PageQuery),
    responses((status = 200, description = "as it is", body = List<BindingItem>), NotTold),
)]
async fn list_bindings<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |b: &BindingItem| format!("{:05} {} {}", b.credentials.port, b.instance, b.id);
        let page_of = (query.limit, query.token);
        page("BindingList", o.bindings().await?, key, page_of)
    })
    .await
}

/// One binding, with its credentials as they are now.
#[utoipa::path(
    get,
    path = "/v1/bindings/{id}",
    tag = "bindings",
    params(("id" = String, Path, description = "the binding's id")),
    responses((status = 200, description = "as it is", body = BindingItem), NotTold),
)]
async fn show_binding<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.binding(id)).await
}
