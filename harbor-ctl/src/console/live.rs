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
    house::{Here, House, STREAMS},
    samples::{Series, Span},
    sessions::Session,
};
use crate::control::Operations;

const SECOND: Duration = Duration::from_secs(1);

/// A message a second until the session ends, or the browser goes.
pub(super) async fn live<O: Operations>(
    State(house): Here<O>,
    Extension(session): Extension<Session>,
) -> Response {
    let Ok(place) = Arc::clone(&house.streams).try_acquire_owned() else {
        let text = format!("{STREAMS} pages are kept fresh, the most there may be\n");
        return (StatusCode::SERVICE_UNAVAILABLE, text).into_response();
    };
    let messages = stream::unfold((house, session, place, false), async |state| {
        let (house, session, place, has_begun) = state;
        if has_begun {
            tokio::time::sleep(SECOND).await;
        }
        if !house.sessions.goes_on(&session, Instant::now()) {
            return None;
        }
        let message = sse::Event::default().data(now(&house).to_string());
        Some((Ok::<_, Infallible>(message), (house, session, place, true)))
    });
    Sse::new(messages).into_response()
}

fn now<O: Operations>(house: &House<O>) -> Value {
    let (at, sample) = house.samples.latest();
    json!({
        "start": house.start,
        "at": at,
        "in": sample.inward,
        "out": sample.outward,
        "flows": sample.flows,
        "event": house.operations.events().newest().to_string(),
    })
}

/// `GET /samples`: in all, or of `port`; of ten minutes, or of a day with `span=day`.
pub(super) async fn samples<O: Operations>(
    State(house): Here<O>,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let span = match query.get("span").map(String::as_str) {
        Some("day") => Span::Minutes,
        _ => Span::Seconds,
    };
    Json(told(
        &house
            .samples
            .series(query.get("port").map(String::as_str), span),
    ))
}

/// Columns, as charts want them.
fn told(series: &Series) -> Value {
    let Series {
        at,
        step_s,
        samples,
    } = series;
    let count = samples.len() as u64;
    let first = (at + step_s).saturating_sub(count * step_s);
    let times: Vec<u64> = (0..count).map(|n| first + n * step_s).collect();
    let inward: Vec<f32> = samples.iter().map(|s| s.inward).collect();
    let outward: Vec<f32> = samples.iter().map(|s| s.outward).collect();
    let flows: Vec<u32> = samples.iter().map(|s| s.flows).collect();
    json!([times, inward, outward, flows])
}

/// Takes the samples of each second, as long as the console is served.
pub(super) async fn sample<O: Operations>(house: Arc<House<O>>) {
    let mut seconds = tokio::time::interval(SECOND);
    seconds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        seconds.tick().await;
        if let Ok(ports) = house.operations.ports().await {
            let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            house
                .samples
                .take(&ports, since.unwrap_or_default().as_secs());
        }
    }
}
