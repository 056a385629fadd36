//! Signing in and out. An id that a browser brings along is never taken over: each sign-in makes one.

use std::{sync::Arc, time::Instant};

use axum::{
    Form,
    extract::{ConnectInfo, Query, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    accounts::Account,
    form::{Fields, Posted},
    layout,
    state::{Console, ConsoleState},
};
use crate::{control::Operations, http::Peer};

/// The longest that is looked at.
const LONGEST: usize = 1_024;

/// Where somebody comes from whose session ended while a page was open.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ended {
    ended: String,
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Query(Ended { ended }): Query<Ended>,
) -> Response {
    let body = html! {
        @if !ended.is_empty() { p.note role="status" { "Your session has ended: sign in again." } }
        (form(console.accounts.has_token(), ("", "")))
    };
    layout::bare("Sign in", &body)
}

pub(super) async fn sign_in<O: Operations>(
    State(console): ConsoleState<O>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Form(fields): Form<Fields>,
) -> Response {
    let Peer::Network { address, .. } = &peer else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let name = field("name");
    let who = (address.ip(), name.trim());
    if let Err(wait) = console.gate.try_once(who, Instant::now()) {
        let text = format!(
            "too many wrong passwords: try again in {} s",
            wait.as_secs() + 1
        );
        return wrong(&console, StatusCode::TOO_MANY_REQUESTS, (name, &text));
    }
    let password = field("password").to_owned();
    let Some(found) = check(&console, (name.to_owned(), password)).await else {
        let asked = (&Method::POST, &Uri::from_static("/sign-in"));
        console
            .strangers
            .refuse(&peer, asked, "a wrong password")
            .await;
        let text = "wrong name or password";
        return wrong(&console, StatusCode::UNAUTHORIZED, (name, text));
    };
    console.gate.was_right(who);
    tracing::info!("console: {} has signed in, {peer}", found.name);
    let id = console.sessions.begin(found, Instant::now());
    let cookie = cookie(&console, &id);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

/// One at a time, and beside what serves requests.
async fn check<O>(
    console: &Arc<Console<O>>,
    (name, password): (String, String),
) -> Option<Account> {
    if name.len() > LONGEST || password.len() > LONGEST {
        return None;
    }
    let _turn = console.gate.turn.acquire().await.ok()?;
    let accounts = Arc::clone(&console.accounts);
    let checked = tokio::task::spawn_blocking(move || accounts.check(name.trim(), &password));
    checked.await.ok()?
}

pub(super) async fn sign_out<O: Operations>(
    State(console): ConsoleState<O>,
    posted: Posted,
) -> Response {
    console.sessions.end(&posted.session);
    let gone = format!("{}; Max-Age=0", cookie(&console, ""));
    ([(header::SET_COOKIE, gone)], Redirect::to("/sign-in")).into_response()
}

fn cookie<O>(console: &Console<O>, id: &str) -> String {
    let secure = if console.has_tls { "; Secure" } else { "" };
    let name = console.cookie();
    format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

/// The form again with the name, and never with the password.
fn wrong<O>(console: &Console<O>, status: StatusCode, (name, text): (&str, &str)) -> Response {
    let name: String = name.chars().take(LONGEST).collect();
    let page = layout::bare(
        "Sign in",
        &form(console.accounts.has_token(), (&name, text)),
    );
    (status, page).into_response()
}

fn form(has_token: bool, (name, wrong): (&str, &str)) -> Markup {
    let is_wrong = !wrong.is_empty();
    html! {
        form.card.narrow method="post" action="/sign-in" {
            @if is_wrong { div.alert role="alert" #wrong { strong.wrong { (wrong) } } }
            p.field {
                label for="name" { "Name" }
                input type="text" id="name" name="name" value=(name) autocomplete="username" autofocus
                    aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("wrong")];
                @if has_token { small { "Leave it empty to sign in with the token." } }
            }
            p.field {
                label for="password" { "Password" @if has_token { " or token" } }
                input type="password" id="password" name="password" autocomplete="current-password" required
                    aria-invalid=[is_wrong.then_some("true")] aria-describedby=[is_wrong.then_some("wrong")];
            }
            p { button type="submit" { "Sign in" } }
        }
    }
}
