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
    house::{Here, House},
    layout,
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
    State(house): Here<O>,
    Query(Ended { ended }): Query<Ended>,
) -> Response {
    let body = html! {
        @if !ended.is_empty() { p.note role="status" { "Your session has ended: sign in again." } }
        (form(house.accounts.has_token(), ""))
    };
    layout::bare("Sign in", &body)
}

pub(super) async fn sign_in<O: Operations>(
    State(house): Here<O>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Form(fields): Form<Fields>,
) -> Response {
    let Peer::Network { address, .. } = &peer else {
        return StatusCode::FORBIDDEN.into_response();
    };
    let from = address.ip();
    if let Err(wait) = house.gate.try_once(from, Instant::now()) {
        let text = format!(
            "too many wrong passwords: try again in {} s",
            wait.as_secs() + 1
        );
        return wrong(&house, StatusCode::TOO_MANY_REQUESTS, &text);
    }
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    let (name, password) = (field("name"), field("password"));
    let Some(found) = check(&house, (name, password)).await else {
        let asked = (&Method::POST, &Uri::from_static("/sign-in"));
        house
            .strangers
            .refuse(&peer, asked, "a wrong password")
            .await;
        return wrong(&house, StatusCode::UNAUTHORIZED, "wrong name or password");
    };
    house.gate.was_right(from);
    tracing::info!("console: {} has signed in, {peer}", found.name);
    let id = house.sessions.begin(found, Instant::now());
    let cookie = cookie(&house, &id);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

/// One at a time, and beside what serves requests.
async fn check<O>(house: &Arc<House<O>>, (name, password): (String, String)) -> Option<Account> {
    if name.len() > LONGEST || password.len() > LONGEST {
        return None;
    }
    let _turn = house.gate.turn.acquire().await.ok()?;
    let accounts = Arc::clone(&house.accounts);
    let checked = tokio::task::spawn_blocking(move || accounts.check(name.trim(), &password));
    checked.await.ok()?
}

pub(super) async fn sign_out<O: Operations>(State(house): Here<O>, posted: Posted) -> Response {
    house.sessions.end(&posted.session);
    let gone = format!("{}; Max-Age=0", cookie(&house, ""));
    ([(header::SET_COOKIE, gone)], Redirect::to("/sign-in")).into_response()
}

fn cookie<O>(house: &House<O>, id: &str) -> String {
    let secure = if house.has_tls() { "; Secure" } else { "" };
    let name = house.cookie();
    format!("{name}={id}; Path=/; HttpOnly; SameSite=Strict{secure}")
}

fn wrong<O>(house: &House<O>, status: StatusCode, text: &str) -> Response {
    let page = layout::bare("Sign in", &form(house.accounts.has_token(), text));
    (status, page).into_response()
}

fn form(has_token: bool, wrong: &str) -> Markup {
    html! {
        form.card.narrow method="post" action="/sign-in" {
            @if !wrong.is_empty() { div.alert role="alert" { strong.wrong { (wrong) } } }
            p.field {
                label for="name" { "Name" }
                input type="text" id="name" name="name" autocomplete="username" autofocus;
                @if has_token { small { "Leave it empty to sign in with the token." } }
            }
            p.field {
                label for="password" { "Password" @if has_token { " or token" } }
                input type="password" id="password" name="password" autocomplete="current-password" required;
            }
            p { button type="submit" { "Sign in" } }
        }
    }
}
