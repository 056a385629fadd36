//! Forms that create, set, drain and delete ports.

use axum::{
    Extension,
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use maud::html;

use super::{
    form::{Change, Entered, Field, Posted, alert, denied, refused, token},
    layout::{self, Place},
    port_page::shown,
    query::{Nothing, Of},
    sessions::Session,
    state::ConsoleState,
};
use crate::{
    api::CreatePort,
    control::{Answer, Operations, segment},
    model::{PortRef, Protocols, Refusal, SETTINGS, Seen, SettingValue, SettingValues},
};

/// What the form offers: a key of the API, and what it is called.
const PROTOCOLS: [(&str, &str); 4] = [
    ("", "as the name says"),
    ("tcp", "TCP"),
    ("udp", "UDP"),
    ("both", "TCP and UDP"),
];

pub(super) async fn create_page<O: Operations>(
    State(_): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Of(Nothing): Of<Nothing>,
) -> Response {
    match session.may_change() {
        true => form(&session, Entered::default()),
        false => denied("this user may look, and change nothing"),
    }
}

pub(super) async fn create<O: Operations>(
    State(console): ConsoleState<O>,
    Change(posted): Change,
) -> Response {
    let created = async { console.operations.create_port(asked(&posted)?).await };
    let created: Answer<_> = created.await;
    match created {
        Ok(port) => to_port(&port.id, "created"),
        Err(refusal) => {
            let refusal = at_its_field(refusal);
            let entered = Entered::new(&posted.fields, Some(&refusal));
            let page = form(&posted.session, entered);
            refused(&refusal, page)
        }
    }
}

/// A backend's address is called that where backends are added one by one; here one field has them all.
fn at_its_field(refusal: Refusal) -> Refusal {
    match refusal.field.as_deref() {
        Some("address" | "instance") => refusal.field("backends"),
        _ => refusal,
    }
}

/// The same that `ports create` sends; an empty field says nothing.
fn asked(posted: &Posted) -> Answer<CreatePort> {
    let given = |name: &str| Some(posted.text(name).to_owned()).filter(|text| !text.is_empty());
    let number = given("port").map(|text| {
        let wrong = |_| Refusal::invalid("port", format!("{text:?} is not a port number"));
        text.parse::<u16>().map_err(wrong)
    });
    let protocol = given("protocol").map(|text| {
        let wrong = |why| Refusal::invalid("protocol", why);
        text.parse::<Protocols>().map_err(wrong)
    });
    let backends = posted.text("backends");
    let backends = backends.split([' ', ',', '\n', '\r', '\t']);
    let settings = SETTINGS.iter();
    let settings = settings.filter_map(|(key, _)| Some(((*key).to_owned(), given(key)?)));
    Ok(CreatePort {
        name: posted.text("name").to_owned(),
        protocol: protocol.transpose()?,
        port: number.transpose()?,
        backends: backends
            .filter(|b| !b.is_empty())
            .map(str::to_owned)
            .collect(),
        settings: settings
            .map(|(key, text)| (key, SettingValue::Text(text)))
            .collect(),
        lifetime: given("for"),
        pool: given("pool"),
    })
}

fn form(session: &Session, entered: Entered<'_>) -> Response {
    let field = |name: &'static str, label: &'static str, hint: &'static str| Field {
        name,
        label,
        hint,
        value: "",
    };
    let line = |name, label, hint| field(name, label, hint).input(entered);
    let protocol = field("protocol", "Protocol", "");
    let body = html! {
        (alert(entered.refusal))
        form.card method="post" action="/ports/create" {
            (token(session))
            (line("name", "Name", "1 to 64 letters, digits, '_', '.' or '-'"))
            (protocol.select(entered, &PROTOCOLS))
            (line("port", "Number", "empty: a free one of the range"))
            (line("backends", "Backends", "IP:PORT each, with spaces between them"))
            (line("for", "Lives for", "a period, as 2h; empty: until somebody deletes it"))
            details open[entered.refusal.is_some()] {
                summary { "Settings" }
                @for (key, meaning) in SETTINGS { (line(key, key, meaning)) }
            }
            p { button type="submit" { "Create the port" } }
        }
    };
    let place = Place {
        title: "Create a port",
        under: "/ports",
    };
    layout::page(place, session, &body)
}

pub(super) async fn set<O: Operations>(
    State(console): ConsoleState<O>,
    Path(id): Path<String>,
    Change(posted): Change,
) -> Response {
    let done: Answer<_> = async {
        let port = PortRef::parse(&id)?;
        let (mut values, mut seen) = (SettingValues::new(), Seen::default());
        for (key, _) in SETTINGS {
            let (was, text) = (posted.text(&format!("was.{key}")), posted.text(key));
            if was == text || !posted.fields.contains_key(key) {
                continue;
            }
            seen.insert(key, was);
            values.insert(key.to_owned(), SettingValue::Text(text.to_owned()));
        }
        console.operations.set_port(port, values, seen).await
    }
    .await;
    match done {
        Ok(_) => to_port(&id, "set"),
        Err(refusal) => {
            let rejected = Some(posted.refused("set", &refusal));
            shown(&console, &posted.session, (&id, rejected, html! {})).await
        }
    }
}

pub(super) async fn drain<O: Operations>(
    State(console): ConsoleState<O>,
    Path(id): Path<String>,
    Change(posted): Change,
) -> Response {
    let done: Answer<_> = async {
        let (port, is_draining) = (PortRef::parse(&id)?, posted.is_on("draining")?);
        console.operations.drain_port(port, is_draining).await?;
        Ok(is_draining)
    }
    .await;
    match done {
        Ok(is_draining) => to_port(&id, if is_draining { "draining" } else { "resumed" }),
        Err(refusal) => {
            let rejected = Some(posted.refused("drain", &refusal));
            shown(&console, &posted.session, (&id, rejected, html! {})).await
        }
    }
}

pub(super) async fn delete<O: Operations>(
    State(console): ConsoleState<O>,
    Path(id): Path<String>,
    Change(posted): Change,
) -> Response {
    let done: Answer<_> = async {
        let port = PortRef::parse(&id)?;
        let item = console.operations.port(port.clone()).await?;
        if posted.text("confirm") != item.name {
            let text = "this is not the port's name: nothing is deleted".to_owned();
            return Err(Refusal::invalid("confirm", text));
        }
        console.operations.delete_port(port).await
    }
    .await;
    match done {
        Ok(port) => Redirect::to(&format!("/ports?deleted={}", segment(&port.id))).into_response(),
        Err(refusal) => {
            let rejected = Some(posted.refused("delete", &refusal));
            shown(&console, &posted.session, (&id, rejected, html! {})).await
        }
    }
}

pub(super) fn to_port(id: &str, done: &str) -> Response {
    Redirect::to(&format!("/ports/{}?done={done}", segment(id))).into_response()
}
