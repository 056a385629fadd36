//! The page of events, with who caused each.

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{
    form::search,
    layout::{self, Place, table},
    query::{Asked, Of, Wanted},
    sessions::Session,
    state::ConsoleState,
};
use crate::{
    control::Operations,
    model::{Event, EventKind, Refusal},
};

/// Events of a page.
const SHOWN: usize = 200;

#[derive(Debug)]
pub(super) struct WantedEvents {
    q: String,
    kind: String,
    /// Those alone that somebody has asked for.
    audit: String,
}

impl Wanted for WantedEvents {
    const NAMES: &[&str] = &["q", "kind", "audit"];

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            q: asked.text("q"),
            kind: asked.choice("kind", EventKind::ALL.iter().map(|kind| kind.name()))?,
            audit: asked.choice("audit", ["yes"].into_iter())?,
        })
    }
}

impl WantedEvents {
    fn is_meant(&self, event: &Event) -> bool {
        let subject = &event.subject;
        let port = subject.port.map(|port| port.to_string());
        let actor = event.actor.as_ref().map(ToString::to_string);
        let texts = [
            &port,
            &subject.name,
            &subject.instance,
            &subject.node,
            &actor,
        ];
        let text = self.q.trim().to_lowercase();
        let mut texts = texts.into_iter().flatten().chain([&event.text]);
        let is_found = texts.any(|own| own.to_lowercase().contains(&text));
        is_found
            && (self.kind.is_empty() || event.kind.name() == self.kind)
            && (self.audit.is_empty() || event.actor.is_some())
    }
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(wanted): Of<WantedEvents>,
) -> Response {
    let log = console.operations.events();
    let events = log.latest(SHOWN, |event| wanted.is_meant(event));
    let body = html! {
        (filter(&wanted))
        div #fresh { (rows(&events)) }
    };
    let place = Place {
        title: "Events",
        under: "/events",
    };
    layout::page(place, &session, &body)
}

fn filter(wanted: &WantedEvents) -> Markup {
    html! {
        form.filter method="get" action="/events" role="search" {
            (search("Text, port, name or who", &wanted.q))
            div.part {
                label for="kind" { "Kind" }
                select id="kind" name="kind" {
                    option value="" { "any" }
                    @for kind in EventKind::ALL {
                        option value=(kind.name()) selected[kind.name() == wanted.kind] { (kind.name()) }
                    }
                }
            }
            label { input type="checkbox" name="audit" value="yes" checked[!wanted.audit.is_empty()]; " asked for by somebody" }
            button type="submit" { "Show" }
        }
    }
}

/// The newest first.
pub(super) fn rows(events: &[Event]) -> Markup {
    let rows = html! {
        @for event in events {
            tr {
                td { (event.time) }
                td { (event.kind.name()) }
                td.words { (event.text) @for change in &event.changes { br; code { (change) } } }
                td.name { @if let Some(actor) = &event.actor { (actor) } }
            }
        }
    };
    html! {
        @if events.is_empty() { p { "Nothing of this kind has happened." } }
        @else { (table("Events", &["Time", "Kind", "What", "Who"], &rows)) }
    }
}
