//! Routes of app hosts: what they say, and who they are.

use std::sync::Arc;

use axum::{
    extract::{DefaultBodyLimit, Query, State, rejection::QueryRejection},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    Operations,
    failure::{NotTold, Refused},
    page::page,
    question::{Body, PageQuery, checked, too_long},
    server::{Shared, answer},
    wire::{AppHostDocument, AppHostItem, Heard, List},
};
use crate::{
    discovery::{DOCUMENT_LIMIT, Message},
    http::described,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_app_hosts))
        .routes(described!(O: announce))
        .routes(described!(O: heartbeat))
        // Full announcements are long.
        .layer(DefaultBodyLimit::max(DOCUMENT_LIMIT))
}

/// Takes over what an app host says of its instances.
#[utoipa::path(
    post,
    path = "/v1/announce",
    tag = "app hosts",
    request_body = AppHostDocument,
    responses((status = 200, description = "done", body = Heard), Refused),
)]
async fn announce<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    hear(o, body).await
}

/// Keeps an app host's lease.
#[utoipa::path(
    post,
    path = "/v1/heartbeat",
    tag = "app hosts",
    request_body = AppHostDocument,
    responses((status = 200, description = "done", body = Heard), Refused),
)]
async fn heartbeat<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    hear(o, body).await
}

async fn hear<O: Operations>(o: Arc<O>, body: Body) -> Response {
    answer(async {
        let document = body.map_err(|_| too_long(DOCUMENT_LIMIT))?;
        o.hear(Message::parse(&document)?).await
    })
    .await
}

/// App hosts that have announced instances.
#[utoipa::path(
    get,
    path = "/v1/deas",
    tag = "app hosts",
    params(PageQuery),
    responses((status = 200, description = "as it is", body = List<AppHostItem>), NotTold),
)]
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
