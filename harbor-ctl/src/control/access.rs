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
    http::{Names, Peer, Pulse, Strangers, misdirected},
    model::{Refusal, RefusalKind, Secret},
};

/// What app hosts may ask.
pub(super) const ANNOUNCING: [&str; 2] = ["/v1/announce", "/v1/heartbeat"];

/// The tokens of the TCP side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tokens {
    /// May ask everything.
    pub(crate) all: Option<Secret>,
    /// May announce.
    pub(crate) announce: Option<Secret>,
}

/// Who may ask by TCP.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) tokens: Tokens,
    /// What it is called, where there is no TLS.
    pub(super) names: Option<Names>,
    pub(super) strangers: Strangers,
}

/// Lets in by TCP who has a certificate or a token, each to what it is for.
pub(super) async fn authorize(
    State(access): State<Arc<Access>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let Access {
        tokens,
        names,
        strangers,
    } = &*access;
    let asked = (request.uri(), request.headers());
    if let Some(why) = misdirected(asked, names.as_ref()) {
        strangers
            .refuse(&peer, (request.method(), request.uri()), why)
            .await;
        return failure(
            Refusal::new(RefusalKind::Denied, why)
                .fix("ask by the node's address, or name it in control.hosts"),
        );
    }
    let is_certified = matches!(
        peer,
        Peer::Network {
            subject: Some(_),
            ..
        }
    );
    let given = bearer(request.headers());
    let has = |token: &Option<Secret>| {
        let token = token.as_ref().zip(given);
        token.is_some_and(|(token, given)| token.is(given))
    };
    let path = request.uri().path();
    if is_certified || has(&tokens.all) {
        return trusted(request, next).await;
    }
    if is_public(path) {
        return next.run(request).await;
    }
    if has(&tokens.announce) {
        return match ANNOUNCING.contains(&path) {
            true => trusted(request, next).await,
            false => failure(denied("this token may announce, and nothing else")),
        };
    }
    let why = "no token, or a wrong one";
    strangers
        .refuse(&peer, (request.method(), request.uri()), why)
        .await;
    let mut answer = failure(denied(why));
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    ([(header::WWW_AUTHENTICATE, "Bearer")], answer).into_response()
}

async fn trusted(request: Request, next: Next) -> Response {
    if let Some(pulse) = request.extensions().get::<Pulse>() {
        pulse.trust();
    }
    next.run(request).await
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
