//! What keeps a page fresh: a stream that says each second what is carried and which event was the last,
//! and the samples of charts. The page itself is fetched again by whoever shows it: there is one way to
//! draw it.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension, Json,
    extract::{Query, State},
    http::StatusCode,
    response::{
        IntoResponse as _, Response,
        sse::{self, Sse},
    },
};
use futures_util::stream;
use serde_json::{Value, json};

use super::{
    samples::Sample,
    sessions::Session,
    state::{Console, ConsoleState, STREAMS},
};
use crate::control::Operations;

const SECOND: Duration = Duration::from_secs(1);

/// A message a second until the session ends, or the browser goes.
pub(super) async fn live<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let Some(place) = console.streams.place(&session.name) else {
        let text =
            format!("as many pages are kept fresh as may be: {STREAMS}, half of them one user's\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let port = query.get("port").cloned();
    let messages = stream::unfold((console, (session, port), place, false), async |state| {
        let (console, (session, port), place, has_begun) = state;
        if has_begun {
            tokio::time::sleep(SECOND).await;
        }
        if !console.sessions.goes_on(&session, Instant::now()) {
            return None;
        }
        let message = sse::Event::default().data(now(&console, port.as_deref()).to_string());
        let state = (console, (session, port), place, true);
        Some((Ok::<_, Infallible>(message), state))
    });
    Sse::new(messages).into_response()
}

/// Of all ports, or of the one that the page is about.
fn now<O: Operations>(console: &Console<O>, port: Option<&str>) -> Value {
    let (at, carried) = console.samples.latest(port);
    json!({
        "start": console.start,
        "at": at,
        "in": carried.map(|carried| carried.in_bps),
        "out": carried.map(|carried| carried.out_bps),
        "flows": carried.map(|carried| carried.flows),
        "event": console.operations.events().newest().to_string(),
    })
}

/// `GET /samples`: in all, or of `port`; as columns, as charts want them.
pub(super) async fn samples<O: Operations>(
    State(console): ConsoleState<O>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let port = query.get("port").map(String::as_str);
    let series = console.samples.series(port);
    let times: Vec<u64> = series.iter().map(|(at, _)| *at).collect();
    let column = |value: fn(&Sample) -> f32| -> Vec<f32> {
        series.iter().map(|(_, sample)| value(sample)).collect()
    };
    Json(json!([
        times,
        column(|s| s.inward),
        column(|s| s.outward),
        column(|s| s.flows)
    ]))
}

/// Takes the samples of each second, as long as the console is served.
pub(super) async fn sample<O: Operations>(console: Arc<Console<O>>) {
    let mut seconds = tokio::time::interval(SECOND);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        let traffic = console.operations.traffic().await;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let at = since.unwrap_or_default().as_secs();
        console.samples.take(traffic, at);
        console.tidy();
        console.sessions.keep(Instant::now());
    }
}
