//! The route that follows packets through the programs.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::State, response::Response};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{Refused, failure},
    extract::{self, parsed},
    ndjson,
    operations::{Answer, Operations, PacketSource as _},
    server::Shared,
};
use crate::{api::TracePackets, http::described, model::TraceLine};

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new().routes(described!(O: trace_packets))
}

/// Packets as the programs see them, one JSON object a line, until the client hangs up. Programs that
/// tell of packets take the place of the others meanwhile; one trace at a time. Packets that come faster
/// than they may be told are left out and counted. What the proxy carries by itself is not told.
#[utoipa::path(
    post,
    path = "/v1/trace",
    tag = "datapath",
    request_body = TracePackets,
    responses(
        (status = 200, description = "one packet a line, or how many were left out", body = TraceLine, content_type = "application/x-ndjson"),
        Refused,
    ),
)]
async fn trace_packets<O: Operations>(State(o): Shared<O>, body: extract::Body) -> Response {
    let begun: Answer<_> = async { o.trace(parsed(body)?).await }.await;
    let packets = match begun {
        Ok(packets) => packets,
        Err(refusal) => return failure(refusal),
    };
    let lines = stream::unfold(packets, async |mut packets| {
        let lines = ndjson::lines(packets.next().await?.into_iter());
        Some((Ok::<_, Infallible>(lines), packets))
    });
    ndjson::answer(lines)
}
