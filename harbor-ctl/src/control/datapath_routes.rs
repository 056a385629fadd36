//! Routes that verify and repair the kernel's tables.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused},
    operations::Operations,
    server::{Shared, answer},
};
use crate::{http::described, model::Verification};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: verify_datapath))
        .routes(described!(O: repair_datapath))
}

/// Compares the kernel's tables with what the agent wrote there; changes nothing. Takes about as long
/// as a start of the agent.
#[utoipa::path(
    get,
    path = "/v1/datapath/verify",
    tag = "datapath",
    responses((status = 200, description = "as it is", body = Verification), NotTold),
)]
async fn verify_datapath<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.verify(false)).await
}

/// Does the same, and writes anew what is not as it was written. What flows go on by stays as it is.
#[utoipa::path(
    post,
    path = "/v1/datapath/repair",
    tag = "datapath",
    responses((status = 200, description = "done", body = Verification), Refused),
)]
async fn repair_datapath<O: Operations>(State(o): Shared<O>) -> Response {
    answer(o.verify(true)).await
}
