//! The page of one port: settings, backends, clients, forms.

use axum::{
    Extension,
    extract::{Path, State},
    response::Response,
};
use maud::{Markup, html};

use super::{
    backend_pages,
    chart::chart,
    explain_page,
    form::{Entered, Field, Rejected, alert, button, refused, token},
    layout::{self, Place, table},
    overview::state,
    query::{Asked, Of, Wanted},
    sessions::Session,
    state::{Console, ConsoleState},
    words::list,
};
use crate::{
    api::{BackendItem, FlowItem, FlowQuery, PortItem},
    control::{Answer, FlowSource as _, Operations, segment},
    model::{PortRef, PortState, Refusal, SETTINGS, known, rate},
};

/// Flows that the page shows.
const FLOWS: usize = 20;

/// What has been done, so that the page can say so.
#[derive(Debug)]
pub(super) struct Done {
    done: String,
}

impl Wanted for Done {
    const NAMES: &[&str] = &["done"];

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal> {
        let done = asked.text("done");
        Ok(Self { done })
    }
}

impl Done {
    pub(super) fn note(&self) -> Markup {
        let text = match self.done.as_str() {
            "created" => "The port is created.",
            "set" => "The change is in force.",
            "waits" => "The change is written, and in force after a restart of the agent.",
            "draining" => "The port takes no new flows any more.",
            "resumed" => "The port takes new flows again.",
            "backend-draining" => "The backend takes no new flows any more.",
            "node-drained" => "The node takes no new ports any more.",
            "node-resumed" => "The node takes new ports again.",
            _ => "",
        };
        html! { @if !text.is_empty() { p.note role="status" { (text) } } }
    }
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Path(id): Path<String>,
    Of(done): Of<Done>,
) -> Response {
    let note = match is_so(&console, &id, &done).await {
        true => done.note(),
        false => html! {},
    };
    shown(&console, &session, (&id, None, note)).await
}

/// Addresses can be kept: what was done may have been undone since.
async fn is_so<O: Operations>(console: &Console<O>, id: &str, done: &Done) -> bool {
    let Ok(port) = PortRef::parse(id) else {
        return false;
    };
    let Ok(item) = console.operations.port(port).await else {
        return false;
    };
    match done.done.as_str() {
        "draining" => item.state != PortState::Up,
        "resumed" => item.state != PortState::Draining,
        _ => true,
    }
}

/// The page again, with what was refused.
pub(super) async fn shown<O: Operations>(
    console: &Console<O>,
    session: &Session,
    (id, rejected, note): (&str, Option<Rejected<'_>>, Markup),
) -> Response {
    let refusal = rejected.and_then(|rejected| rejected.entered.refusal);
    let place = |title| Place {
        title,
        under: "/ports",
    };
    match read(console, id).await {
        Ok(port) => {
            let chart = chart(&console.samples, Some((&port.item.id, &port.item.unknown)));
            let body = html! { (note) (alert(refusal)) (chart) (whole(&port, session, rejected)) };
            let title = format!("Port {}: {}", port.item.port, port.item.name);
            let page = layout::page(place(&title), session, &body);
            match refusal {
                Some(refusal) => refused(refusal, page),
                None => page,
            }
        }
        Err(why) => refused(
            &why,
            layout::page(place("Port"), session, &alert(Some(&why))),
        ),
    }
}

struct Port {
    item: PortItem,
    backends: Vec<BackendItem>,
    /// They may be unknown while the datapath is away; the rest is not.
    flows: Answer<Vec<FlowItem>>,
}

async fn read<O: Operations>(console: &Console<O>, id: &str) -> Answer<Port> {
    let port = PortRef::parse(id)?;
    let item = console.operations.port(port.clone()).await?;
    let which = FlowQuery {
        port: Some(id.to_owned()),
        limit: Some(FLOWS),
        ..FlowQuery::default()
    };
    Ok(Port {
        item,
        backends: console.operations.backends(Some(port)).await?,
        flows: first_flows(console, which).await,
    })
}

/// No more are read than are shown.
async fn first_flows<O: Operations>(
    console: &Console<O>,
    which: FlowQuery,
) -> Answer<Vec<FlowItem>> {
    let mut flows = console.operations.flows(which).await?;
    Ok(flows.next().await?.unwrap_or_default())
}

fn whole(port: &Port, session: &Session, rejected: Option<Rejected<'_>>) -> Markup {
    let item = &port.item;
    // A backend's refusal stands in its row, which is not made anew under whoever reads it.
    let is_kept = Rejected::of(rejected, "backends").refusal.is_some();
    html! {
        div id=[(!is_kept).then_some("fresh")] {
            (facts(item))
            section { h2 { "Backends" } (backend_pages::rows(&port.backends, Some((&item.id, session, rejected)))) }
            section {
                h2 { "Clients" }
                @match &port.flows {
                    Ok(first) => (flows(first)),
                    Err(refusal) => (alert(Some(refusal))),
                }
            }
        }
        @if session.may_change() {
            (settings(item, session, Rejected::of(rejected, "set")))
        } @else {
            (settings_to_read(item))
        }
        (explain_page::of_port(item))
        @if session.may_change() { (ends(item, session, rejected)) }
    }
}

fn facts(item: &PortItem) -> Markup {
    let apps = list(&item.apps);
    html! {
        dl.facts {
            dt { "State" } dd { (state(item.state.name())) @if let Some(reason) = &item.reason { " " (reason) } }
            dt { "Protocols" } dd { (list(&item.protocols)) }
            dt { "Id" } dd { (item.id) }
            dt { "Path" } dd { (item.path) }
            @if let Some(public) = &item.public { dt { "Public" } dd { (public) } }
            dt { "Flows" } dd { (known(item.flows)) @if let Some(why) = &item.unknown { " " (why) } }
            dt { "From clients" } dd { (rate(item.rate_in_bps)) }
            dt { "To clients" } dd { (rate(item.rate_out_bps)) }
            @if !item.node.is_empty() { dt { "Node" } dd { (item.node) } }
            @if let Some(organization) = &item.organization { dt { "Organization" } dd { (organization) } }
            @if let Some(space) = &item.space { dt { "Space" } dd { (space) } }
            @if !apps.is_empty() { dt { "Bound apps" } dd { (apps) } }
            @if let Some(left) = item.expires_in_s { dt { "Ends in" } dd { (left) " s" } }
            @if !item.full.is_empty() { dt { "Nearly full" } dd { (list(&item.full)) } }
        }
    }
}

fn flows(flows: &[FlowItem]) -> Markup {
    // A record has many fields, which its own names say best.
    let shown = |flow: &FlowItem| serde_json::to_value(&flow.flow).unwrap_or_default();
    let rows = html! {
        @for flow in flows {
            @let value = shown(flow);
            tr {
                @for key in ["protocol", "client", "backend", "state"] {
                    td { (value[key].as_str().unwrap_or("")) }
                }
            }
        }
    };
    html! {
        @if flows.is_empty() { p { "No flow is open." } }
        @else { (table("Flows", &["Protocol", "Client", "Backend", "State"], &rows)) }
        @if flows.len() == FLOWS { p { "The first " (FLOWS) " are shown: harbor-ctl flows list shows all." } }
    }
}

/// What somebody has changed stands there again; the rest is as it is now.
fn settings(item: &PortItem, session: &Session, entered: Entered<'_>) -> Markup {
    let is_changed = |key: &str| entered.typed(key) != entered.typed(&format!("was.{key}"));
    html! {
        section {
            h2 { "Settings" }
            form.card method="post" action={ "/ports/" (segment(&item.id)) "/set" } {
                (token(session))
                @for (key, meaning) in SETTINGS {
                    @let value = item.settings.text(key);
                    input type="hidden" name={ "was." (key) } value=(value);
                    @let field = Field { name: key, label: key, hint: meaning, value: &value };
                    (field.input(if is_changed(key) { entered } else { entered.untyped() }))
                }
                p { button type="submit" { "Change settings" } }
            }
        }
    }
}

/// For whoever may only look.
fn settings_to_read(item: &PortItem) -> Markup {
    html! {
        section {
            h2 { "Settings" }
            dl.facts {
                @for (key, meaning) in SETTINGS {
                    @let value = item.settings.text(key);
                    dt { (key) } dd { @if !value.is_empty() { code { (value) } " " } small { (meaning) } }
                }
            }
        }
    }
}

fn ends(item: &PortItem, session: &Session, rejected: Option<Rejected<'_>>) -> Markup {
    let is_draining = item.state == PortState::Draining;
    let (to, label) = match is_draining {
        true => ("off", "Take new flows again"),
        false => ("on", "Drain: take no new flows"),
    };
    let confirm = Field {
        name: "confirm",
        label: "The port's name, to delete it",
        hint: "Its flows end, and its number rests.",
        value: "",
    };
    html! {
        section {
            h2 { "Drain" }
            form.card method="post" action={ "/ports/" (segment(&item.id)) "/drain" } {
                (token(session))
                input type="hidden" name="draining" value=(to);
                p { (button(label, None, Rejected::of(rejected, "drain").refusal)) }
            }
        }
        section {
            h2 { "Delete" }
            form.card method="post" action={ "/ports/" (segment(&item.id)) "/delete" } {
                (token(session))
                (confirm.input(Rejected::of(rejected, "delete")))
                p { button.danger type="submit" { "Delete the port" } }
            }
        }
    }
}
