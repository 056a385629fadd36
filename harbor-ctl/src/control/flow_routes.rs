//! Routes that list, count and end flows, and explain packets.

use std::{io, sync::Arc, vec};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    response::Response,
};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, Refused, failure},
    extract::{self, PortQuery, checked, parsed},
    ndjson,
    operations::{Answer, FlowSource, Operations},
    page::page_limit,
    server::{Shared, answer},
};
use crate::{
    api::{
        ExplainPacket, ExplainReport, FlowCount, FlowItem, FlowQuery, KillFlows, KilledFlows, List,
    },
    http::described,
    model::Refusal,
};

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

/// Flows of one port or of all, in pages. Up to 4,096 are in the order of port, protocol, client and source;
/// of more, each few thousand are. Every page goes on where the one before has ended.
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
        let limit = page_limit(query.limit)?;
        flow_page(o.flows(which).await?, limit, query.token.as_deref()).await
    })
    .await
}

/// The order of flows of one step.
fn key(item: &FlowItem) -> String {
    let flow = &item.flow;
    format!(
        "{:05} {} {} {}",
        item.port, flow.protocol, flow.client, flow.source
    )
}

/// A page, and the token of what follows it: where the step of its last flow begins, and that flow's key
/// if the step holds more. A step that is read again has the same flows, but for those that came or went.
async fn flow_page(
    mut flows: impl FlowSource,
    limit: usize,
    token: Option<&str>,
) -> Answer<List<FlowItem>> {
    let mut after = None;
    if let Some(token) = token {
        let (place, key) = token.split_once(' ').unwrap_or((token, ""));
        if !flows.go_to(place) {
            let text = format!("continue = {token:?}: no list of flows has told it");
            return Err(Refusal::invalid("continue", text).fix("begin without it"));
        }
        after = (!key.is_empty()).then_some(key);
    }
    let mut items: Vec<FlowItem> = Vec::new();
    let mut place = flows.place();
    loop {
        let Some(mut step) = flows.next().await? else {
            // What lay behind the last flow was empty.
            return Ok(listed(items, None));
        };
        // As tokens are compared.
        step.sort_by_cached_key(key);
        if let Some(after) = after.take() {
            step.retain(|item| key(item).as_str() > after);
        }
        let room = limit - items.len();
        let is_cut = step.len() > room;
        items.extend(step.into_iter().take(room));
        if let (true, Some(last)) = (is_cut, items.last()) {
            let next = place.map(|place| format!("{place} {}", key(last)));
            return Ok(listed(items, next));
        }
        place = flows.place();
        if items.len() == limit {
            return Ok(listed(items, place));
        }
    }
}

fn listed(items: Vec<FlowItem>, next: Option<String>) -> List<FlowItem> {
    List {
        next,
        ..List::of("FlowList", items)
    }
}

/// All flows that are asked for, one JSON object a line, sent while they are read: up to 4,096 by port,
/// protocol, client and source; of more, each few thousand are. A flow that is there all the time is
/// sent once.
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
    let found = async { Lines::begin(o.flows(checked(query)?).await?).await };
    let lines = match found.await {
        Ok(lines) => lines,
        Err(refusal) => return failure(refusal),
    };
    let lines = stream::unfold(Some(lines), async |lines| lines?.next().await);
    ndjson::answer(lines)
}

/// Flows as lines. More are read when those that are held were sent.
struct Lines<F> {
    flows: F,
    held: vec::IntoIter<FlowItem>,
}

impl<F: FlowSource> Lines<F> {
    /// What cannot be read at all is refused before anything is sent.
    async fn begin(mut flows: F) -> Answer<Self> {
        let first = flows.next().await?.unwrap_or_default();
        let held = first.into_iter();
        Ok(Self { flows, held })
    }

    /// The next lines, and what follows them. A body that ends with an error is seen to be cut.
    async fn next(mut self) -> Option<(io::Result<Vec<u8>>, Option<Self>)> {
        if self.held.len() == 0 {
            match self.flows.next().await {
                Ok(more) => self.held = more?.into_iter(),
                Err(refusal) => return Some((Err(io::Error::other(refusal)), None)),
            }
        }
        let lines = ndjson::lines(self.held.by_ref().take(CHUNK));
        Some((Ok(lines), Some(self)))
    }
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
async fn kill_flows<O: Operations>(State(o): Shared<O>, body: extract::Body) -> Response {
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
async fn explain<O: Operations>(State(o): Shared<O>, body: extract::Body) -> Response {
    answer(async { o.explain(parsed(body)?).await }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table that ends with a part in which nothing is.
    struct EmptyEnd;

    impl FlowSource for EmptyEnd {
        fn place(&self) -> Option<String> {
            Some("7".into())
        }

        fn go_to(&mut self, _place: &str) -> bool {
            true
        }

        async fn next(&mut self) -> Answer<Option<Vec<FlowItem>>> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn a_page_behind_which_nothing_is_leads_to_no_other() {
        let page = flow_page(EmptyEnd, 10, Some("7")).await.unwrap();
        assert_eq!((page.items.len(), page.next), (0, None));
    }
}
