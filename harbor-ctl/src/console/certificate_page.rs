//! The page of certificates of ports that terminate TLS.

use axum::{Extension, extract::State, response::Response};
use maud::{Markup, html};

use super::{
    form::alert,
    layout::{self, Place, table},
    query::{Nothing, Of},
    recent::Since,
    sessions::Session,
    state::ConsoleState,
    words::list,
};
use crate::control::{Operations, PortRow, segment};

pub(super) async fn page<O: Operations>(
    State(console): ConsoleState<O>,
    Extension(session): Extension<Session>,
    Extension(since): Extension<Since>,
    Of(Nothing): Of<Nothing>,
) -> Response {
    let body = match console.ports(since).await {
        Ok(ports) => html! { div #fresh { (listing(&ports)) } },
        Err(refusal) => alert(Some(&refusal)),
    };
    let place = Place {
        title: "Certificates",
        under: "/certificates",
    };
    layout::page(place, &session, &body)
}

fn listing(ports: &[PortRow]) -> Markup {
    let mut own: Vec<_> = ports
        .iter()
        .filter_map(|row| Some((&row.service, row.certificate.as_ref()?)))
        .collect();
    // What has a problem or ends first.
    own.sort_by_key(|(port, certificate)| {
        (
            certificate.problem.is_none(),
            certificate.expires_at,
            port.port,
        )
    });
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let days = |at: u64| match at.checked_sub(now) {
        Some(left) => format!("in {} days", left / 86_400),
        None => "has ended".to_owned(),
    };
    let rows = html! {
        @for (port, certificate) in &own {
            tr {
                th scope="row" { a href={ "/ports/" (segment(&port.id)) } { (port.port) } }
                td.name { (port.name) }
                td.name { (list(&certificate.names)) }
                td { @match certificate.expires_at { Some(at) => (days(at)), None => "none is in force" } }
                td.words { @if let Some(problem) = &certificate.problem { strong.wrong { (problem) } } }
            }
        }
    };
    html! {
        @if own.is_empty() { p { "Harbor ends TLS on no port." } }
        @else { (table("Certificates", &["Port", "Name", "Names", "Ends", "Problem"], &rows)) }
    }
}
