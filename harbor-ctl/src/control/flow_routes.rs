//! Routes of flows, and of what would become of one.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;

use super::{
    Operations,
    failure::{NotTold, Refused, failure},
    page::page,
    question::{self, PortQuery, checked, parsed},
    server::{Shared, answer},
    wire::{
        ExplainPacket, ExplainReport, FlowCount, FlowItem, FlowQuery, KillFlows, KilledFlows, List,
    },
};
use crate::http::described;

/// How many flows are sent at once.
const CHUNK: usize = 256;

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new()
        .routes(described!(O: list_flows))
        .routes(described!(O: stream_flows))
        .routes(described!(O: count_flows))
        .routes(described!(O: kill_flows))
        .routes(described!(O: explain))
}

/// Flows of one port or of all, in pages. Each page costs as much as all flows: for many,
/// `/v1/flows/stream` costs it once.
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
        let which = FlowQuery {
            port: query.port.clone(),
            ..FlowQuery::default()
        };
        let items = o.flows(which).await?;
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

/// All flows that are asked for, one JSON object a line, by port.
#[utoipa::path(
    get,
    path = "/v1/flows/stream",
    tag = "flows",
    params(FlowQuery),
    responses(
        (status = 200, description = "one flow a line", body = FlowItem, content_type = "application/x-ndjson"),
        NotTold,
    ),
)]
async fn stream_flows<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Response {
    let found = async { o.flows(checked(query)?).await };
    let items = match found.await {
        Ok(items) => items,
        Err(refusal) => return failure(refusal),
    };
    let lines = stream::unfold(items.into_iter(), async |mut items| {
        let mut lines = Vec::new();
        for item in items.by_ref().take(CHUNK) {
            // A structure of strings and numbers always serialises.
            serde_json::to_writer(&mut lines, &item).ok()?;
            lines.push(b'\n');
        }
        (!lines.is_empty()).then_some((Ok::<_, Infallible>(lines), items))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

/// How many flows there are.
#[utoipa::path(
    get,
    path = "/v1/flows/count",
    tag = "flows",
    params(FlowQuery),
    responses((status = 200, description = "as it is", body = FlowCount), NotTold),
)]
async fn count_flows<O: Operations>(
    State(o): Shared<O>,
    query: Result<Query<FlowQuery>, QueryRejection>,
) -> Response {
    answer(async {
        let flows = o.count_flows(checked(query)?).await?;
        Ok(FlowCount { flows })
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
async fn kill_flows<O: Operations>(State(o): Shared<O>, body: question::Body) -> Response {
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
async fn explain<O: Operations>(State(o): Shared<O>, body: question::Body) -> Response {
    answer(async { o.explain(parsed(body)?).await }).await
}
