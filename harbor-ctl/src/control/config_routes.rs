//! Routes of the configuration and of the agent's status.

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
    api::{ConfigChange, List, SetConfig, StatusReport},
    http::described,
    model::ConfigItem,
};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: show_config))
        .routes(described!(O: set_config, unset_config))
        .routes(described!(O: show_status))
}

/// Every value of the configuration, with who said it.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "configuration",
    responses((status = 200, description = "as it is", body = List<ConfigItem>), NotTold),
)]
async fn show_config<O: Operations>(State(o): Shared<O>) -> Response {
    answer(async { Ok(List::of("ConfigList", o.config().await?)) }).await
}

/// Changes one value in the file, and uses it at once where that is possible.
#[utoipa::path(
    put,
    path = "/v1/config/{key}",
    tag = "configuration",
    params(("key" = String, Path, description = "SECTION.NAME, or one of kato's names")),
    request_body = SetConfig,
    responses((status = 200, description = "done", body = ConfigChange), Refused),
)]
async fn set_config<O: Operations>(
    State(o): Shared<O>,
    Path(key): Path<String>,
    body: Body,
) -> Response {
    answer(async {
        let SetConfig { value } = parsed(body)?;
        o.set_config(key, value, None).await
    })
    .await
}

/// Takes one value out of the file: its default, or a weaker layer, decides again.
#[utoipa::path(
    delete,
    path = "/v1/config/{key}",
    tag = "configuration",
    params(("key" = String, Path, description = "SECTION.NAME, or one of kato's names")),
    responses((status = 200, description = "done", body = ConfigChange), Refused),
)]
async fn unset_config<O: Operations>(State(o): Shared<O>, Path(key): Path<String>) -> Response {
    answer(o.unset_config(key)).await
}

/// Every part of the agent and how it is.
#[utoipa::path(
    get,
    path = "/v1/status",
    tag = "status",
    responses((status = 200, description = "as it is", body = StatusReport), NotTold),
)]
async fn show_status<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.status()).await
}
