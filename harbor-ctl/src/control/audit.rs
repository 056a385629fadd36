//! What is written down of requests: a line for every change, with who asked; and an event for changes
//! that leave none of their own.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use super::{Operations, question::BODY_LIMIT};
use crate::{
    http::Peer,
    model::{EventKind, Happening, Subject},
};

/// Of the values, in characters.
const SHOWN: usize = 512;

/// Writes down who has asked for which change, and what became of it.
pub(super) async fn audit<O: Operations>(
    State(operations): State<Arc<O>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let (request, values) = with_values(request, &path).await;
    let response = next.run(request).await;
    let status = response.status().as_u16();
    tracing::info!(%method, path, status, "change requested, {peer}");
    if leaves_no_event(&path) && response.status().is_success() {
        let text = format!("{method} {path}{values}, {peer}");
        let told = Happening::new(EventKind::AdminAction, Subject::default(), text);
        operations.events().tell(told);
    }
    response
}

/// Ports, backends, bindings and settings are compared, whoever changes them, and tell of it themselves;
/// so does a state that is taken in.
fn leaves_no_event(path: &str) -> bool {
    let parts = ["/v1/flows/", "/v1/state/", "/v1/nodes", "/v1/deas/"];
    path != "/v1/state/import" && parts.iter().any(|part| path.starts_with(part))
}

/// The request, and what it says, where that is short and holds no secret.
async fn with_values(request: Request, path: &str) -> (Request, String) {
    if path != "/v1/flows/kill" {
        return (request, String::new());
    }
    let (parts, body) = request.into_parts();
    // A body that cannot be read, or is too long, is refused by the handler as no document.
    let bytes = to_bytes(body, BODY_LIMIT)
        .await
        .unwrap_or_else(|_| Bytes::new());
    let text = String::from_utf8_lossy(&bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let values = format!(" {}", words.chars().take(SHOWN).collect::<String>());
    (Request::from_parts(parts, Body::from(bytes)), values)
}
