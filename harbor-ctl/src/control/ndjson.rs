//! Answers that are sent while they are made: a JSON object a line.

use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use futures_util::TryStream;
use serde::Serialize;

/// A body of such lines.
pub(super) fn answer<S>(lines: S) -> Response
where
    S: TryStream<Ok: Into<Bytes>, Error: Into<axum::BoxError>> + Send + 'static,
{
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(lines)).into_response()
}

pub(super) fn lines<T: Serialize>(items: impl Iterator<Item = T>) -> Vec<u8> {
    let mut lines = Vec::new();
    for item in items {
        // A structure of strings and numbers always serialises.
        if serde_json::to_writer(&mut lines, &item).is_ok() {
            lines.push(b'\n');
        }
    }
    lines
}
