//! Nodes that share the registry.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    form::{Change, Rejected, alert, button, refused, token},
    layout::{self, Place, table},
    overview::state,
    port_page::Done,
    query::Of,
    sessions::Session,
    state::{Console, ConsoleState},
};
use crate::{
    api::NodeItem,
    control::{Answer, Operations},
};

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(done): Of<Done>,
) -> Response {
    shown(&console, &session, (None, done.note())).await
}

async fn shown<O: Operations>(
    console: &Console<O>,
    session: &Session,
    (rejected, note): (Option<Rejected<'_>>, Markup),
) -> Response {
    let nodes = console.operations.nodes().await;
    let body = html! {
        (note)
        (alert(rejected.and_then(|rejected| rejected.entered.refusal)))
        @match &nodes {
            // What was refused stands in a row, which is not made anew under whoever reads it.
            Ok(nodes) => div id=[rejected.is_none().then_some("fresh")] { (listing(nodes, session, rejected)) },
            Err(refusal) => (alert(Some(refusal))),
        }
    };
    let place = Place {
        title: "Nodes",
        under: "/nodes",
    };
    layout::page(place, session, &body)
}

fn listing(nodes: &[NodeItem], session: &Session, rejected: Option<Rejected<'_>>) -> Markup {
    let rows = html! {
        @for node in nodes {
            tr {
                th.name scope="row" { (node.id) @if node.this { " (this one)" } }
                td { (state(&node.state)) }
                td.number { (node.ports) }
                td { @match node.seen_ms_ago { Some(ago) => { (ago) " ms ago" }, None => "-" } }
                td { (node.version) }
                @if session.may_change() { td { (drain(node, session, rejected)) } }
            }
        }
    };
    let mut headings = vec!["Node", "State", "Ports", "Heard", "Version"];
    headings.extend(session.may_change().then_some("Drain"));
    table("Nodes", &headings, &rows)
}

fn drain(node: &NodeItem, session: &Session, rejected: Option<Rejected<'_>>) -> Markup {
    let entered = Rejected::of(rejected, "nodes");
    let is_its = entered.typed("id") == Some(&node.id);
    let refusal = entered.refusal.filter(|_| is_its);
    let (to, label) = match node.state == "drained" {
        true => ("off", "Resume"),
        false => ("on", "Drain"),
    };
    html! {
        form method="post" action="/nodes" {
            (token(session))
            input type="hidden" name="id" value=(node.id);
            input type="hidden" name="draining" value=(to);
            (button(label, Some(&format!("{label} {}", node.id)), refusal))
        }
    }
}

pub(super) async fn change<O: Operations>(
    State(console): ConsoleState<O>,
    Change(posted): Change,
) -> Response {
    let done: Answer<_> = async {
        let (id, is_draining) = (posted.text("id").to_owned(), posted.is_on("draining")?);
        console.operations.drain_node(id, is_draining).await?;
        Ok(is_draining)
    }
    .await;
    match done {
        Ok(true) => Redirect::to("/nodes?done=node-drained").into_response(),
        Ok(false) => Redirect::to("/nodes?done=node-resumed").into_response(),
        Err(refusal) => {
            let rejected = Some(posted.refused("nodes", &refusal));
            let page = shown(&console, &posted.session, (rejected, html! {})).await;
            refused(&refusal, page)
        }
    }
}
