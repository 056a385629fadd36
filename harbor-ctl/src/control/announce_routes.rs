//! Routes by which app hosts announce instances.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::QueryRejection},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    extract::{Body, PageQuery, checked, too_long},
    operations::Operations,
    page::page,
    server::{Shared, answer},
};
use crate::{
    api::{AppHostDocument, AppHostItem, ForgottenAppHost, Heard, List},
    discovery::{DOCUMENT_LIMIT, Message, Sender},
    http::described,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_app_hosts))
        .routes(described!(O: forget_app_host))
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
async fn announce<O: Operations>(
    State(o): Shared<O>,
    sender: Option<Extension<Sender>>,
    body: Body,
) -> Response {
    hear(o, sender, body).await
}

/// Keeps an app host's lease.
#[utoipa::path(
    post,
    path = "/v1/heartbeat",
    tag = "app hosts",
    request_body = AppHostDocument,
    responses((status = 200, description = "done", body = Heard), Refused),
)]
async fn heartbeat<O: Operations>(
    State(o): Shared<O>,
    sender: Option<Extension<Sender>>,
    body: Body,
) -> Response {
    hear(o, sender, body).await
}

async fn hear<O: Operations>(o: Arc<O>, sender: Option<Extension<Sender>>, body: Body) -> Response {
    answer(async {
        let document = body.map_err(|_| too_long(DOCUMENT_LIMIT))?;
        // Whoever lets a request in says who it is from; else it has the least right.
        let sender = sender.map_or(Sender::Announcer, |Extension(sender)| sender);
        o.hear(Message::parse(&document)?, sender).await
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

/// Forgets how far an app host has spoken: it may begin with any epoch again.
#[utoipa::path(
    delete,
    path = "/v1/deas/{dea}",
    tag = "app hosts",
    params(("dea" = String, Path, description = "the app host's name")),
    responses((status = 200, description = "done", body = ForgottenAppHost), Refused),
)]
async fn forget_app_host<O: Operations>(State(o): Shared<O>, Path(dea): Path<String>) -> Response {
    answer(async {
        o.forget_app_host(dea.clone()).await?;
        Ok(ForgottenAppHost { dea })
    })
    .await
}
