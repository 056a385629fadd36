//! Routes of flows, and of what would become of one.

use std::sync::Arc;

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use utoipa_axum::router::OpenApiRouter;

use super::{
    Operations,
    failure::{NotTold, Refused},
    page::page,
    question::{Body, PortQuery, checked, parsed},
    server::{Shared, answer},
    wire::{ExplainPacket, ExplainReport, FlowItem, KillFlows, KilledFlows, List},
};
use crate::http::described;

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_flows))
        .routes(described!(O: kill_flows))
        .routes(described!(O: explain))
}

/// Flows of one port or of all.
#[utoipa::path(
    get,
    path = "/v1/flows",
    tag = "flows",
    params(PortQuery),
    responses((status = 200, description = "as it is", body = List<FlowItem>), NotTold),
)]
async fn list_flows<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<PortQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let query = checked(query)?;
        let items = o.flows(query.reference()?).await?;
        let key = |item: &FlowItem| {
            let flow = &item.flow;
            format!(
                "{:05} {} {} {}",
                item.port, flow.protocol, flow.client, flow.source
            )
        };
        page("FlowList", items, key, (query.limit, query.token))
    })
    .await
}

/// Ends flows.
#[utoipa::path(
    post,
    path = "/v1/flows/kill",
    tag = "flows",
    request_body = KillFlows,
    responses((status = 200, description = "done", body = KilledFlows), Refused),
)]
async fn kill_flows<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.kill_flows(parsed(body)?).await }).await
}

/// What would become of a packet, and why; changes nothing.
#[utoipa::path(
    post,
    path = "/v1/explain",
    tag = "flows",
    request_body = ExplainPacket,
    responses((status = 200, description = "done", body = ExplainReport), Refused),
)]
async fn explain<O: Operations>(State(o): Shared<O>, body: Body) -> Response {
    answer(async { o.explain(parsed(body)?).await }).await
}
