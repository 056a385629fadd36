//! Routes of bindings: what platforms' apps were told.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Path, Query, State, rejection::QueryRejection},
    response::Response,
    routing::get,
};

use super::{
    Operations,
    page::page,
    server::{PageQuery, Shared, answer, checked},
    wire::BindingItem,
};

pub(super) fn routes<O: Operations>() -> Router<Arc<O>> {
    Router::new()
        .route("/v1/bindings", get(list::<O>))
        .route("/v1/bindings/{id}", get(show::<O>))
}

async fn list<O: Operations>(
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

async fn show<O: Operations>(State(o): Shared<O>, Path(id): Path<String>) -> Response {
    answer(o.binding(id)).await
}
