//! The frame of every page: its head, the way to the others, and who is signed in.

use axum::{
    http::header,
    response::{IntoResponse as _, Response},
};
use maud::{DOCTYPE, Markup, html};

use super::{form::token, sessions::Session};

const PAGES: [(&str, &str); 8] = [
    ("/", "Overview"),
    ("/ports", "Ports"),
    ("/backends", "Backends"),
    ("/nodes", "Nodes"),
    ("/events", "Events"),
    ("/explain", "Explain"),
    ("/settings", "Settings"),
    ("/certificates", "Certificates"),
];

/// Which page it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) title: &'a str,
    /// The entry of the navigation that leads there.
    pub(super) under: &'a str,
}

/// A page for somebody who is signed in.
pub(super) fn page(place: Place<'_>, session: &Session, body: &Markup) -> Response {
    let frame = html! {
        a.skip href="#main" { "Skip to content" }
        header {
            strong.brand { "Harbor" }
            nav aria-label="Pages" {
                ul {
                    @for (path, name) in PAGES {
                        li { a href=(path) aria-current=[(path == place.under).then_some("page")] { (name) } }
                    }
                }
            }
            form.who method="post" action="/sign-out" {
                (token(session))
                span { (session.name) @if !session.may_change() { " (read)" } }
                button type="submit" { "Sign out" }
            }
        }
        p #connection role="status" aria-live="polite" {}
        main #main tabindex="-1" {
            h1 { (place.title) }
            (body)
        }
    };
    document(place.title, &frame)
}

/// A page for whoever is not.
pub(super) fn bare(title: &str, body: &Markup) -> Response {
    let frame = html! {
        header { strong.brand { "Harbor" } }
        main #main { h1 { (title) } (body) }
    };
    document(title, &frame)
}

fn document(title: &str, frame: &Markup) -> Response {
    let document = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " - Harbor" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/uPlot.min.css";
                link rel="stylesheet" href="/assets/console.css";
                script src="/assets/uPlot.iife.min.js" defer {}
                script src="/assets/console.js" defer {}
            }
            body { (frame) }
        }
    };
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, document.into_string()).into_response()
}

/// A table that scrolls by itself on a narrow screen, and can be scrolled by keys.
pub(super) fn table(label: &str, headings: &[&str], rows: &Markup) -> Markup {
    html! {
        div.scroll role="region" aria-label=(label) tabindex="0" {
            table {
                thead { tr { @for heading in headings { th scope="col" { (heading) } } } }
                tbody { (rows) }
            }
        }
    }
}
