//! What whoever is at the other end may ask.

use std::sync::Arc;

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::failure::failure;
use crate::{
    http::Peer,
    model::{Refusal, RefusalKind, Secret},
};

/// What app hosts may ask.
const ANNOUNCING: [&str; 2] = ["/v1/announce", "/v1/heartbeat"];

/// The tokens of the TCP side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// May ask everything.
    pub(crate) all: Option<Secret>,
    /// May announce.
    pub(crate) announce: Option<Secret>,
}

/// Lets in by TCP who has a certificate or a token, each to what it is for.
pub(super) async fn authorize(
    State(tokens): State<Arc<Tokens>>,
    request: Request,
    next: Next,
) -> Response {
    let peer = request.extensions().get::<ConnectInfo<Peer>>();
    let is_certified = matches!(
        peer,
        Some(ConnectInfo(Peer::Network {
            is_certified: true,
            ..
        }))
    );
    let given = bearer(request.headers());
    let has = |token: &Option<Secret>| {
        let token = token.as_ref().zip(given);
        token.is_some_and(|(token, given)| token.is(given))
    };
    let path = request.uri().path();
    if is_certified || has(&tokens.all) || is_public(path) {
        return next.run(request).await;
    }
    if has(&tokens.announce) {
        return match ANNOUNCING.contains(&path) {
            true => next.run(request).await,
            false => failure(denied("this token may announce, and nothing else")),
        };
    }
    let mut answer = failure(denied("no token, or a wrong one"));
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

/// What tells nothing but that somebody lives, and what can be asked.
fn is_public(path: &str) -> bool {
    path == "/healthz" || path == super::described::PLACE
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn denied(text: &str) -> Refusal {
    Refusal::new(RefusalKind::Denied, text).fix("give --token-file the right file")
}
