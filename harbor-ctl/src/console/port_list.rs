//! All ports: filtered, sorted and cut into pages here, so that a page is as long with 5,001 ports as
//! with ten.

use std::cmp::Reverse;

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{
    form::{alert, search},
    layout::{self, Place, table},
    overview::state,
    query::{Asked, Of, Wanted},
    recent::Since,
    sessions::Session,
    state::ConsoleState,
    words::list,
};
use crate::{
    control::{EventLog, Operations, PortRow, segment},
    model::{EventKind, PortState, Refusal, known, rate},
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
#[derive(Debug)]
pub(super) struct WantedPorts {
    q: String,
    state: String,
    sort: String,
    page: usize,
    /// The id of a port that is no more, for whoever has deleted it.
    deleted: String,
}

impl Wanted for WantedPorts {
    const NAMES: &[&str] = &["q", "state", "sort", "page", "deleted"];

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            q: asked.text("q"),
            state: asked.choice("state", PortState::ALL.into_iter().map(PortState::name))?,
            sort: asked.choice("sort", SORTS.into_iter().map(|(key, _)| key))?,
            page: asked.count("page")?,
            deleted: asked.text("deleted"),
        })
    }
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Extension(since): Extension<Since>,
    Of(wanted): Of<WantedPorts>,
) -> Response {
    let body = match console.ports(since).await {
        Ok(ports) => html! {
            (deleted(&console.operations.events(), &wanted.deleted))
            (unlisted(console.operations.unlisted().await))
            (listing(&ports, &wanted, &session))
        },
        Err(refusal) => alert(Some(&refusal)),
    };
    let place = Place {
        title: "Ports",
        under: "/ports",
    };
    layout::page(place, &session, &body)
}

/// Says that a port was deleted, if the events say so too: an address can be made by anybody.
fn deleted(events: &EventLog, id: &str) -> Markup {
    let is_its = |service: &String| service == id;
    let ended = events.latest(1, |event| {
        event.kind == EventKind::PortReleased && event.subject.service.as_ref().is_some_and(is_its)
    });
    html! {
        @for event in &ended {
            p.note role="status" {
                "Port " @if let Some(port) = event.subject.port { (port) }
                @if let Some(name) = &event.subject.name { ", " (name) "," }
                " is deleted."
            }
        }
    }
}

/// Says that there are ports which the list cannot name.
fn unlisted(warning: Option<String>) -> Markup {
    html! {
        @if let Some(warning) = warning { p.note role="status" { "Not all of them: " (warning) "." } }
    }
}

fn listing(ports: &[PortRow], wanted: &WantedPorts, session: &Session) -> Markup {
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

fn found<'a>(ports: &'a [PortRow], wanted: &WantedPorts) -> Vec<&'a PortRow> {
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

fn filter(wanted: &WantedPorts) -> Markup {
    let states = PortState::ALL.map(PortState::name);
    html! {
        form.filter method="get" action="/ports" role="search" {
            (search("Name, number or node", &wanted.q))
            div.part {
                label for="state" { "State" }
                select id="state" name="state" {
                    option value="" { "any" }
                    @for name in states { option value=(name) selected[name == wanted.state] { (name) } }
                }
            }
            div.part {
                label for="sort" { "Sorted by" }
                select id="sort" name="sort" {
                    @for (key, name) in SORTS { option value=(key) selected[key == wanted.sort] { (name) } }
                }
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
            td.name { (port.name) }
            td.name { (state(row.state.name())) @if let Some(reason) = &row.reason { " " (reason) } }
            td { (row.path) }
            td.number { (known(row.up)) " of " (port.backends.len()) }
            td.number { (known(row.flows)) }
            td.number { (rate(row.rate_bps)) }
            td.name { (port.node) }
        }
    }
}

fn turn(wanted: &WantedPorts, (page, pages): (usize, usize)) -> Markup {
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
