//! The route of events: a stream that a client can resume where it stopped.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::stream;
use utoipa_axum::router::OpenApiRouter;

use super::{
    error::{NotTold, failure},
    event_log::STREAMS,
    event_reader::{Ending, Reader},
    extract::{EventQuery, checked},
    operations::{Answer, Operations},
    server::Shared,
};
use crate::{
    http::described,
    model::{Event, Refusal, RefusalKind},
};

/// How often a silent stream shows that it lives.
const ALIVE: Duration = Duration::from_secs(15);
const LAST: &str = "Last-Event-ID";

pub(super) fn routes<O: Operations>() -> OpenApiRouter<Arc<O>> {
    OpenApiRouter::new().routes(described!(O: stream_events))
}

/// Events as they happen, as server-sent events; `Last-Event-ID` is a stronger `since`.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    params(EventQuery),
    responses(
        (status = 200, description = "one event a message", body = Event, content_type = "text/event-stream"),
        NotTold,
    ),
)]
async fn stream_events<O: Operations>(
    State(o): Shared<O>,
    headers: HeaderMap,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Response {
    let asked = async {
        let query = checked(query)?;
        Ok((last_id(&headers)?.or(query.since), query.filter()?, query))
    };
    let asked: Answer<_> = asked.await;
    let (since, filter, query) = match asked {
        Ok(asked) => asked,
        Err(refusal) => return failure(refusal),
    };
    let log = o.events();
    let Some(place) = log.place() else {
        let text = format!("{STREAMS} streams of events are open, the most there may be");
        return failure(Refusal::new(RefusalKind::NotReady, text).fix("try again later"));
    };
    let ending = match query.follow {
        Some(false) => Ending::ReadAll,
        Some(true) | None => Ending::Never,
    };
    let asks_for_kept =
        ending == Ending::ReadAll || query.within_s.is_some() || query.from.is_some();
    let since = match (since, query.last) {
        (Some(since), Some(last)) => log
            .before_last(last, |event| filter.is_meant(event))
            .max(since),
        (Some(since), None) => since,
        (None, Some(last)) => log.before_last(last, |event| filter.is_meant(event)),
        (None, None) if asks_for_kept => 0,
        (None, None) => log.newest(),
    };
    let reader = Reader::new(log, since, filter, ending);
    let events = stream::unfold((reader, place), async |(mut reader, place)| {
        let event = Reader::next(&mut reader).await?;
        Some((message(&event), (reader, place)))
    });
    let alive = KeepAlive::new().interval(ALIVE).text("alive");
    Sse::new(events).keep_alive(alive).into_response()
}

fn message(event: &Event) -> Result<sse::Event, Infallible> {
    let message = sse::Event::default().id(event.id.to_string());
    // A structure of strings and numbers always serialises.
    let data = serde_json::to_string(event).unwrap_or_default();
    Ok(message.event(event.kind.name()).data(data))
}

fn last_id(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get(LAST) else {
        return Ok(None);
    };
    let id = value
        .to_str()
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let wrong = || Refusal::invalid(LAST, format!("{LAST} is not the id of an event"));
    id.map(Some).ok_or_else(wrong)
}
