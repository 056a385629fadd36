//! Whom a request is from, and whether a browser was made to send it: before any page sees it.
//!
//! Without a session there is nothing but the page to sign in, its style, and nothing else.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};

use super::{
    recent::Since,
    sessions::{Session, Sign},
    state::{Console, ConsoleState},
};
use crate::{
    control::Operations,
    http::{Peer, Pulse, Requester, asked_by, misdirected, names_another, untold},
};

/// Nothing inline, nothing evaluated, nothing from elsewhere, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Said by a page that keeps itself fresh.
const FRESH: &str = "x-harbor-fresh";
/// Browsers say nothing of themselves where they ask for a stream.
const STREAM: &str = "/live";

/// What every answer says to the browser. An origin must be told where a form is sent, so that it can
/// be held against the host.
pub(super) async fn headers(request: Request, next: Next) -> Response {
    let is_asset = request.uri().path().starts_with("/assets/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let cached = if is_asset { "no-cache" } else { "no-store" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cached));
    response
}

/// Lets in what the browser's user has asked for himself.
pub(super) async fn own_requests<O: Operations>(
    State(console): ConsoleState<O>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let asked = (request.uri(), request.headers());
    let plain = (!console.has_tls).then_some(&console.names);
    let why = misdirected(asked, plain)
        .or_else(|| names_another(asked, &console.names))
        .or_else(|| from_elsewhere(&request));
    let Some(why) = why else {
        return next.run(request).await;
    };
    let asked = (request.method(), request.uri());
    console.strangers.refuse(&peer, asked, why).await;
    let text = format!("{why}: ask by the node's address, or name it in console.hosts\n");
    (StatusCode::FORBIDDEN, text).into_response()
}

/// What newer browsers say of changes themselves.
fn from_elsewhere(request: &Request) -> Option<&'static str> {
    let site = request.headers().get("sec-fetch-site")?;
    let is_look = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_own = site == "same-origin" || site == "none";
    (!is_look && !is_own).then_some("another site has sent this form")
}

/// Finds the session; whoever has none is led to where one begins.
pub(super) async fn signed_in<O: Operations>(
    State(console): ConsoleState<O>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(session) = session(&console, &request) else {
        return match request.headers().contains_key(FRESH) || request.uri().path() == STREAM {
            true => (StatusCode::UNAUTHORIZED, "the session has ended\n").into_response(),
            false => Redirect::to("/sign-in").into_response(),
        };
    };
    if let Some(pulse) = request.extensions().get::<Pulse>() {
        pulse.trust();
    }
    let by = Some(format!("console {}", session.name));
    let requester = Requester::new(Some(&peer), by);
    let since = match request.headers().contains_key(FRESH) {
        true => Since::lately(),
        false => Since::now(),
    };
    request.extensions_mut().insert(since);
    request.extensions_mut().insert(session);
    asked_by(Some(requester), noted(&console, request, next)).await
}

/// A change that no event tells of is told here, as the control API does.
async fn noted<O: Operations>(console: &Arc<Console<O>>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = next.run(request).await;
    if path != "/sign-out"
        && let Some(untold) = untold(&method, &path, &response)
    {
        console.operations.events().tell(untold);
    }
    response
}

/// A page asks for its stream and for what is fresh by itself, whether or not anybody is there.
fn session<O>(console: &Console<O>, request: &Request) -> Option<Session> {
    let headers = request.headers();
    let sign = match headers.contains_key(FRESH) || request.uri().path() == STREAM {
        true => Sign::OfPage,
        false => Sign::OfLife,
    };
    let id = cookie(headers, console.cookie())?;
    console.sessions.find(id, sign, Instant::now())
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter();
    let texts = lines.filter_map(|line| line.to_str().ok());
    let mut pairs = texts.flat_map(|text| text.split("; "));
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}
