//! The first page: problems with their fixes, traffic, drops, recent events.

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{
    chart::chart,
    event_page,
    layout::{self, Place, table},
    query::{Nothing, Of},
    recent::Since,
    sessions::Session,
    state::ConsoleState,
};
use crate::{api::StatusReport, control::Operations};

/// Events that it shows.
const EVENTS: usize = 10;
const PLACE: Place<'static> = Place {
    title: "Overview",
    under: "/",
};

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Extension(since): Extension<Since>,
    Of(Nothing): Of<Nothing>,
) -> Response {
    let body = match console.status(since).await {
        Ok(status) => {
            let events = console.operations.events().latest(EVENTS, |_| true);
            html! {
                (chart(&console.samples, None))
                div #fresh {
                    (parts(&status))
                    (filled(&status))
                    (drops(&status))
                    section { h2 { "Recent events" } (event_page::rows(&events)) }
                }
            }
        }
        Err(refusal) => super::form::alert(Some(&refusal)),
    };
    layout::page(PLACE, &session, &body)
}

fn parts(status: &StatusReport) -> Markup {
    let rows = html! {
        @for (name, part) in status.parts() {
            tr {
                th scope="row" { (name) }
                td { (state(&part.state)) }
                td.words { (part.text) }
                td.name { @if let Some(fix) = &part.fix { code { (fix) } } }
            }
        }
    };
    html! {
        section {
            h2 { "Status: " (state(&status.overall)) }
            p { "Harbor " (status.version) ", process " (status.pid) ", up for " (status.uptime_s) " s" }
            (table("Status", &["Part", "State", "What", "Fix"], &rows))
        }
    }
}

/// What stands in place of what the programs in the kernel count.
fn uncounted(status: &StatusReport) -> Markup {
    html! {
        p {
            @if status.datapath.state == "ok" {
                "Counted by the programs in the kernel, and none is loaded: see each port's page."
            } @else {
                "Not known, the programs in the kernel count this: " (status.datapath.text) "."
            }
        }
    }
}

/// The fullest of each kind that has a limit.
fn filled(status: &StatusReport) -> Markup {
    let reports = status.datapath_report.iter();
    let mut filled: Vec<_> = reports
        .flat_map(|report| &report.filled)
        .filter(|filled| filled.room > 0)
        .collect();
    filled.sort_by_key(|filled| std::cmp::Reverse(filled.percent()));
    let rows = html! {
        @for filled in &filled {
            tr {
                th.name scope="row" { (filled.what) " " (filled.name) }
                td.number { (filled.used) }
                td.number { (filled.room) }
                td.number { (filled.percent()) " %" }
            }
        }
    };
    html! {
        section {
            h2 { "Fullest" }
            @if status.datapath_report.is_none() { (uncounted(status)) }
            @else if filled.is_empty() { p { "No flow is open." } }
            @else { (table("Fullest", &["What", "Flows", "Room", "Full"], &rows)) }
        }
    }
}

fn drops(status: &StatusReport) -> Markup {
    let verdicts = status
        .datapath_report
        .iter()
        .flat_map(|report| &report.verdicts);
    let mut drops: Vec<_> = verdicts
        .filter(|v| v.verdict == "drop" && v.packets > 0)
        .collect();
    drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
    let rows = html! {
        @for drop in &drops {
            tr { th scope="row" { (drop.name) } td.number { (drop.packets) } td { (drop.meaning) } }
        }
    };
    html! {
        section {
            h2 { "Dropped" }
            @if status.datapath_report.is_none() { (uncounted(status)) }
            @else if drops.is_empty() { p { "Nothing has been dropped." } }
            @else { (table("Dropped", &["Reason", "Packets", "Meaning"], &rows)) }
        }
    }
}

/// A state with its colour, which says nothing that the word does not.
pub(super) fn state(name: &str) -> Markup {
    let class = match name {
        "ok" | "up" => "state good",
        "down" | "failing" | "conflict" | "ejected" | "unreachable" | "away" => "state bad",
        _ => "state middling",
    };
    html! { span class=(class) { (name) } }
}
