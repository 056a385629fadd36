//! The page that traces a packet stage by stage.

use std::net::SocketAddr;

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{
    form::{Entered, Field, Fields, alert, refused},
    layout::{self, Place},
    query::{Asked, Of, Wanted},
    sessions::Session,
    state::ConsoleState,
};
use crate::{
    api::{ExplainPacket, ExplainReport, PortItem},
    control::{Answer, Operations},
    model::{Protocol, Refusal},
};

const NAMES: [&str; 3] = ["src", "dst", "proto"];
const PROTOCOLS: [(&str, &str); 2] = [("tcp", "TCP"), ("udp", "UDP")];

/// What the form was sent with; nothing where nobody has sent it yet.
#[derive(Debug)]
pub(super) struct Typed(Fields);

impl Wanted for Typed {
    const NAMES: &[&str] = &NAMES;

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal> {
        Ok(Self(asked.fields()))
    }
}

impl Typed {
    fn packet(&self) -> Result<ExplainPacket, Refusal> {
        let [src, dst, proto] = NAMES.map(|name| self.0.get(name).map_or("", |text| text.trim()));
        let proto = match proto {
            "" | "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => {
                let text = "the protocol is neither tcp nor udp";
                return Err(Refusal::invalid("proto", text));
            }
        };
        Ok(ExplainPacket {
            src: src.to_owned(),
            dst: dst.to_owned(),
            proto: Some(proto),
            flags: Vec::new(),
        })
    }
}

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(typed): Of<Typed>,
) -> Response {
    let place = Place {
        title: "Explain",
        under: "/explain",
    };
    let form = |refusal| form(&Begun::default(), Entered::new(&typed.0, refusal));
    if typed.0.is_empty() {
        return layout::page(place, &session, &form(None));
    }
    let found: Answer<_> = async { console.operations.explain(typed.packet()?).await }.await;
    match found {
        Ok(found) => {
            let body = html! { (form(None)) (report(&found)) };
            layout::page(place, &session, &body)
        }
        Err(refusal) => {
            let body = html! { (alert(Some(&refusal))) (form(Some(&refusal))) };
            refused(&refusal, layout::page(place, &session, &body))
        }
    }
}

/// What the form begins with.
#[derive(Debug, Default)]
struct Begun {
    dst: String,
    proto: String,
    /// Where a port's page leads from, which knows no address.
    dst_port: String,
}

/// The form on a port's own page: to where clients reach it, if that is an address.
pub(super) fn of_port(port: &PortItem) -> Markup {
    let public = port.public.as_ref();
    let address = public.filter(|public| public.parse::<SocketAddr>().is_ok());
    let begun = Begun {
        dst: address.cloned().unwrap_or_default(),
        dst_port: port.port.to_string(),
        proto: port
            .protocols
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    html! {
        section { h2 { "What would become of a packet?" } (form(&begun, Entered::default())) }
    }
}

fn form(begun: &Begun, entered: Entered<'_>) -> Markup {
    let hint = match begun.dst_port.is_empty() {
        true => "IP:PORT of the packet's destination".to_owned(),
        false => format!("one of this node's addresses, with port {}", begun.dst_port),
    };
    let src = Field {
        name: "src",
        label: "From",
        hint: "IP:PORT of a client",
        value: "",
    };
    let dst = Field {
        name: "dst",
        label: "To",
        hint: &hint,
        value: &begun.dst,
    };
    let proto = Field {
        name: "proto",
        label: "Protocol",
        hint: "",
        value: if begun.proto == "udp" { "udp" } else { "tcp" },
    };
    html! {
        form.card method="get" action="/explain" {
            (src.input(entered))
            (dst.input(entered))
            (proto.select(entered, &PROTOCOLS))
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
