//! The page that traces a packet stage by stage.

use std::net::SocketAddr;

use axum::{
    Extension,
    extract::{Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    form::{Field, alert, refused},
    layout::{self, Place},
    sessions::Session,
    state::ConsoleState,
};
use crate::{
    api::{ExplainPacket, ExplainReport, PortItem},
    control::Operations,
    model::{Protocol, Refusal},
};

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    src: String,
    dst: String,
    proto: String,
    /// Where a port's page leads from, which knows no address.
    dst_port: String,
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Query(asked): Query<Asked>,
) -> Response {
    let place = Place {
        title: "Explain",
        under: "/explain",
    };
    if asked.src.is_empty() && asked.dst.is_empty() {
        return layout::page(place, &session, &form(&asked, None));
    }
    let packet = ExplainPacket {
        src: asked.src.trim().to_owned(),
        dst: asked.dst.trim().to_owned(),
        proto: Some(if asked.proto == "udp" {
            Protocol::Udp
        } else {
            Protocol::Tcp
        }),
        flags: Vec::new(),
    };
    match console.operations.explain(packet).await {
        Ok(found) => {
            let body = html! { (form(&asked, None)) (report(&found)) };
            layout::page(place, &session, &body)
        }
        Err(refusal) => {
            let body = html! { (alert(Some(&refusal))) (form(&asked, Some(&refusal))) };
            refused(&refusal, layout::page(place, &session, &body))
        }
    }
}

/// The form on a port's own page: to where clients reach it, if that is an address.
pub(super) fn of_port(port: &PortItem) -> Markup {
    let public = port.public.as_ref();
    let address = public.filter(|public| public.parse::<SocketAddr>().is_ok());
    let asked = Asked {
        dst: address.cloned().unwrap_or_default(),
        dst_port: port.port.to_string(),
        proto: port
            .protocols
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
        src: String::new(),
    };
    html! {
        section { h2 { "What would become of a packet?" } (form(&asked, None)) }
    }
}

fn form(asked: &Asked, refusal: Option<&Refusal>) -> Markup {
    let hint = match asked.dst_port.is_empty() {
        true => "IP:PORT of the packet's destination".to_owned(),
        false => format!("one of this node's addresses, with port {}", asked.dst_port),
    };
    let (src, dst) = (
        Field {
            name: "src",
            label: "From",
            hint: "IP:PORT of a client",
            value: &asked.src,
        },
        Field {
            name: "dst",
            label: "To",
            hint: &hint,
            value: &asked.dst,
        },
    );
    html! {
        form.card method="get" action="/explain" {
            (src.input(refusal))
            (dst.input(refusal))
            p.field {
                label for="proto" { "Protocol" }
                select id="proto" name="proto" {
                    option value="tcp" { "TCP" }
                    option value="udp" selected[asked.proto == "udp"] { "UDP" }
                }
            }
            p { button type="submit" { "Explain" } }
        }
    }
}

fn report(found: &ExplainReport) -> Markup {
    html! {
        section {
            h2 { (found.packet) }
            p { strong { (found.verdict) } ": " (found.name) ", " (found.meaning) }
            ol.stages {
                @for stage in &found.stages { li { strong { (stage.stage) } " " (stage.text) } }
            }
            ul { @for why in &found.why { li { (why) } } }
            @if let Some(backend) = &found.backend {
                p { "Backend " (backend.instance.as_deref().unwrap_or("-")) " " (backend.address) ": " (backend.state) }
            }
        }
    }
}
