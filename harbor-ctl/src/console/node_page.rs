//! Nodes that share the registry.

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};

use super::{
    form::{Change, alert, refused, token},
    layout::{self, Place, table},
    overview::state,
    sessions::Session,
    state::{Console, ConsoleState},
};
use crate::{api::NodeItem, control::Operations, model::Refusal};

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
) -> Response {
    shown(&console, &session, None).await
}

async fn shown<O: Operations>(
    console: &Console<O>,
    session: &Session,
    refusal: Option<&Refusal>,
) -> Response {
    let nodes = console.operations.nodes().await;
    let body = html! {
        (alert(refusal))
        @match &nodes {
            Ok(nodes) => div #fresh { (listing(nodes, session)) },
            Err(refusal) => (alert(Some(refusal))),
        }
    };
    let place = Place {
        title: "Nodes",
        under: "/nodes",
    };
    layout::page(place, session, &body)
}

fn listing(nodes: &[NodeItem], session: &Session) -> Markup {
    let rows = html! {
        @for node in nodes {
            tr {
                th scope="row" { (node.id) @if node.this { " (this one)" } }
                td { (state(&node.state)) }
                td.number { (node.ports) }
                td { @match node.seen_ms_ago { Some(ago) => { (ago) " ms ago" }, None => "-" } }
                td { (node.version) }
                @if session.may_change() { td { (drain(node, session)) } }
            }
        }
    };
    let mut headings = vec!["Node", "State", "Ports", "Heard", "Version"];
    headings.extend(session.may_change().then_some("Drain"));
    table("Nodes", &headings, &rows)
}

fn drain(node: &NodeItem, session: &Session) -> Markup {
    let (to, label) = match node.state == "drained" {
        true => ("off", "Resume"),
        false => ("on", "Drain"),
    };
    html! {
        form method="post" action="/nodes" {
            (token(session))
            input type="hidden" name="id" value=(node.id);
            input type="hidden" name="draining" value=(to);
            button type="submit" aria-label={ (label) " " (node.id) } { (label) }
        }
    }
}

pub(super) async fn change<O: Operations>(
    State(console): ConsoleState<O>,
    Change(posted): Change,
) -> Response {
    let (id, is_draining) = (
        posted.text("id").to_owned(),
        posted.text("draining") == "on",
    );
    match console.operations.drain_node(id, is_draining).await {
        Ok(_) => Redirect::to("/nodes").into_response(),
        Err(refusal) => {
            let page = shown(&console, &posted.session, Some(&refusal)).await;
            refused(&refusal, page)
        }
    }
}
