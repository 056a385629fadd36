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

/// By what somebody was let in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admitted(pub(super) &'static str);

/// Lets in by TCP who has a certificate or a token, each to what it is for.
pub(super) async fn authorize(
    State(tokens): State<Arc<Tokens>>,
    mut request: Request,
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
    let admitted = if is_certified {
        Admitted("certificate")
    } else if has(&tokens.all) {
        Admitted("token")
    } else if is_public(path) {
        Admitted("nobody")
    } else if has(&tokens.announce) && ANNOUNCING.contains(&path) {
        Admitted("announce token")
    } else if has(&tokens.announce) {
        return failure(denied("this token may announce, and nothing else"));
    } else {
        return unknown();
    };
    request.extensions_mut().insert(admitted);
    next.run(request).await
}

fn unknown() -> Response {
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
