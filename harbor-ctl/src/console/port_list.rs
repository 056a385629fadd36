//! All ports: filtered, sorted and cut into pages here, so that a page is as long with 5,001 ports as
//! with ten.

use std::cmp::Reverse;

use axum::{
    Extension,
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    form::alert,
    layout::{self, Place, table},
    overview::state,
    recent::Since,
    sessions::Session,
    state::ConsoleState,
    words::list,
};
use crate::{
    control::{Operations, PortRow, segment},
    model::format_rate,
};

const ON_PAGE: usize = 50;
const SORTS: [(&str, &str); 5] = [
    ("port", "Number"),
    ("name", "Name"),
    ("state", "State"),
    ("rate", "Rate"),
    ("flows", "Flows"),
];

/// What the page was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    q: String,
    state: String,
    sort: String,
    page: usize,
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Extension(since): Extension<Since>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let body = match console.ports(since).await {
        Ok(ports) => listing(&ports, &wanted, &session),
        Err(refusal) => alert(Some(&refusal)),
    };
    let place = Place {
        title: "Ports",
        under: "/ports",
    };
    layout::page(place, &session, &body)
}

fn listing(ports: &[PortRow], wanted: &Wanted, session: &Session) -> Markup {
    let all = ports.len();
    let found = found(ports, wanted);
    let pages = found.len().div_ceil(ON_PAGE).max(1);
    let page = wanted.page.clamp(1, pages);
    let shown = found.iter().skip((page - 1) * ON_PAGE).take(ON_PAGE);
    html! {
        @if session.may_change() { p { a.button href="/ports/create" { "Create a port" } } }
        (filter(wanted))
        div #fresh {
            p { (found.len()) " of " (all) " ports" }
            @let rows = html! { @for port in shown { (row(port)) } };
            (table("Ports", &["Port", "Name", "State", "Path", "Backends", "Flows", "Rate", "Node"], &rows))
        }
        (turn(wanted, (page, pages)))
    }
}

fn found<'a>(ports: &'a [PortRow], wanted: &Wanted) -> Vec<&'a PortRow> {
    let text = wanted.q.trim().to_lowercase();
    let is_meant = |row: &&PortRow| {
        let port = &row.service;
        let texts = [&port.name, &port.id, &port.node];
        let is_found = texts.iter().any(|own| own.to_lowercase().contains(&text))
            || port.port.to_string().starts_with(&text);
        is_found && (wanted.state.is_empty() || row.state.name() == wanted.state)
    };
    let mut found: Vec<&PortRow> = ports.iter().filter(is_meant).collect();
    // Of those that are alike the lower number comes first.
    found.sort_by(|a, b| (a.service.port, &a.service.id).cmp(&(b.service.port, &b.service.id)));
    match wanted.sort.as_str() {
        "name" => found.sort_by(|a, b| a.service.name.cmp(&b.service.name)),
        "state" => found.sort_by_key(|row| row.state.name()),
        "rate" => found.sort_by_key(|row| Reverse(row.rate_bps)),
        "flows" => found.sort_by_key(|row| Reverse(row.flows)),
        _ => {}
    }
    found
}

fn filter(wanted: &Wanted) -> Markup {
    let states = crate::model::PortState::ALL.map(crate::model::PortState::name);
    html! {
        form.filter method="get" action="/ports" role="search" {
            label for="q" { "Name, number or node" }
            input type="search" id="q" name="q" value=(wanted.q);
            label for="state" { "State" }
            select id="state" name="state" {
                option value="" { "any" }
                @for name in states { option value=(name) selected[name == wanted.state] { (name) } }
            }
            label for="sort" { "Sorted by" }
            select id="sort" name="sort" {
                @for (key, name) in SORTS { option value=(key) selected[key == wanted.sort] { (name) } }
            }
            button type="submit" { "Show" }
        }
    }
}

fn row(row: &PortRow) -> Markup {
    let port = &row.service;
    html! {
        tr {
            th scope="row" {
                a href={ "/ports/" (segment(&port.id)) } { (port.port) "/" (list(port.protocols.each())) }
            }
            td { (port.name) }
            td { (state(row.state.name())) @if let Some(reason) = &row.reason { " " (reason) } }
            td { (row.path) }
            td.number { (row.up) " of " (port.backends.len()) }
            td.number { (row.flows) }
            td.number { (format_rate(row.rate_bps)) }
            td { (port.node) }
        }
    }
}

fn turn(wanted: &Wanted, (page, pages): (usize, usize)) -> Markup {
    let to = |page: usize| {
        let [q, state, sort] = [&wanted.q, &wanted.state, &wanted.sort].map(|text| segment(text));
        format!("/ports?q={q}&state={state}&sort={sort}&page={page}")
    };
    html! {
        @if pages > 1 {
            nav.turn aria-label="Pages of ports" {
                @if page > 1 { a href=(to(page - 1)) { "Previous" } }
                span { "Page " (page) " of " (pages) }
                @if page < pages { a href=(to(page + 1)) { "Next" } }
            }
        }
    }
}
