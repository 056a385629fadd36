//! Backends of all ports and the app hosts that announce them; a backend is drained here too.

use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use maud::{Markup, html};

use super::{
    form::{Change, Rejected, alert, button, search, token},
    layout::{self, Place, table},
    overview::state,
    port_forms::to_port,
    port_page::shown,
    query::{Asked, Of, Wanted},
    sessions::Session,
    state::ConsoleState,
    words::some,
};
use crate::{
    api::{AppHostItem, BackendItem, NameBackend},
    control::{Answer, FoundBackends, Operations, segment},
    model::{Refusal, known},
};

/// Backends of a page.
const ON_PAGE: usize = 100;

#[derive(Debug)]
pub(super) struct WantedBackends {
    q: String,
}

impl Wanted for WantedBackends {
    const NAMES: &[&str] = &["q"];

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal> {
        let q = asked.text("q");
        Ok(Self { q })
    }
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(wanted): Of<WantedBackends>,
) -> Response {
    let found = console.find_backends(wanted.q.trim(), ON_PAGE).await;
    // App hosts are not known while a shared registry is away; backends are.
    let hosts = console.operations.app_hosts().await;
    let body = match found {
        Ok(found) => whole(&found, &hosts, wanted.q.trim()),
        Err(refusal) => alert(Some(&refusal)),
    };
    let place = Place {
        title: "Backends and app hosts",
        under: "/backends",
    };
    layout::page(place, &session, &body)
}

fn whole(found: &FoundBackends, hosts: &Answer<Vec<AppHostItem>>, wanted: &str) -> Markup {
    html! {
        form.filter method="get" action="/backends" role="search" {
            (search("Service, instance, address, state or app host", wanted))
            button type="submit" { "Show" }
        }
        div #fresh {
            section {
                h2 { "App hosts" }
                @match hosts {
                    Ok(hosts) => (app_hosts(hosts)),
                    Err(refusal) => (alert(Some(refusal))),
                }
            }
            section {
                h2 { "Backends" }
                p { (found.found) " of " (found.all) " backends"
                    @if found.found > found.items.len() { ", the first " (ON_PAGE) " are shown: search for the others" } }
                (rows(&found.items, None))
            }
        }
    }
}

fn app_hosts(hosts: &[AppHostItem]) -> Markup {
    let rows = html! {
        @for host in hosts {
            tr {
                th.name scope="row" { (host.dea) }
                td.number { (host.instances) }
                td.name { (some(&host.services)) }
                td.number { (host.epoch) }
                td.number { (host.seq) }
                td { @match host.lease_left_s { Some(left) => { (left) " s" }, None => "not heard yet" } }
            }
        }
    };
    html! {
        @if hosts.is_empty() { p { "No app host has announced anything." } }
        @else { (table("App hosts", &["App host", "Instances", "Services", "Epoch", "Sequence", "Lease"], &rows)) }
    }
}

/// Whose backends may be drained: a port's id, by whom, and what was refused.
type Drainable<'a> = (&'a str, &'a Session, Option<Rejected<'a>>);

/// Backends; of one port where they may be drained.
pub(super) fn rows(backends: &[BackendItem], of: Option<Drainable<'_>>) -> Markup {
    let of = of.filter(|(_, session, _)| session.may_change());
    let rows = html! {
        @for item in backends {
            tr {
                th.name scope="row" { (item.instance) }
                td.name { (item.service) " " (item.port) }
                td { (item.address) }
                td.name { (state(&item.state)) @if let Some(reason) = &item.reason { " " (reason) } }
                td { (item.path) @if let Some(reason) = &item.path_reason { " " (reason) } }
                td.number { (item.weight) }
                td.number { (known(item.flows)) }
                td.name { (item.dea.as_deref().unwrap_or("by hand")) }
                @if let Some(of) = of { td { (drain(item, of)) } }
            }
        }
    };
    let mut headings = vec![
        "Instance",
        "Port",
        "Address",
        "State",
        "Path",
        "Weight",
        "Flows",
        "Announced by",
    ];
    headings.extend(of.map(|_| "Drain"));
    html! {
        @if backends.is_empty() { p { "There is no backend." } }
        @else { (table("Backends", &headings, &rows)) }
    }
}

/// By the port's id: two ports may share a number.
fn drain(item: &BackendItem, (id, session, rejected): Drainable<'_>) -> Markup {
    let entered = Rejected::of(rejected, "backends");
    let is_its = entered.typed("backend") == Some(&*item.address.to_string());
    let refusal = entered.refusal.filter(|_| is_its);
    html! {
        form method="post" action={ "/ports/" (segment(id)) "/backends" } {
            (token(session))
            input type="hidden" name="backend" value=(item.address);
            (button("Drain", Some(&format!("Drain {}", item.instance)), refusal))
        }
    }
}

pub(super) async fn change<O: Operations>(
    State(console): ConsoleState<O>,
    Path(id): Path<String>,
    Change(posted): Change,
) -> Response {
    let request = NameBackend {
        port: id.clone(),
        backend: posted.text("backend").to_owned(),
        now: false,
    };
    match console.operations.drain_backend(request).await {
        Ok(_) => to_port(&id, "backend-draining"),
        Err(refusal) => {
            let rejected = Some(posted.refused("backends", &refusal));
            shown(&console, &posted.session, (&id, rejected, html! {})).await
        }
    }
}
