//! Routes of app hosts: what they say, and who they are.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    response::Response,
    routing::{get, post},
};

use super::{
    Operations,
    page::page,
    server::{Body, PageQuery, Shared, answer, checked, too_long},
    wire::AppHostItem,
};
use crate::discovery::{DOCUMENT_LIMIT, Message};

pub(super) fn routes<O: Operations>() -> Router<Arc<O>> {
    Router::new()
        .route("/v1/deas", get(list_app_hosts::<O>))
        .route("/v1/announce", post(hear::<O>))
        .route("/v1/heartbeat", post(hear::<O>))
        // Full announcements are long.
        .layer(DefaultBodyLimit::max(DOCUMENT_LIMIT))
}

async fn hear<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async {
        let document = body.map_err(|_| too_long(DOCUMENT_LIMIT))?;
        o.hear(Message::parse(&document)?).await
    })
    .await
}

async fn list_app_hosts<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let key = |host: &AppHostItem| host.dea.clone();
        let page_of = (query.limit, query.token);
        page("DeaList", o.app_hosts().await?, key, page_of)
    })
    .await
}
