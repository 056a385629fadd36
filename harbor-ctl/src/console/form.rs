//! Forms: what was posted, who may post it, and how a refusal stands at its field.

use std::collections::BTreeMap;

use axum::{
    Extension, Form,
    extract::{FromRequest, Request},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use subtle::ConstantTimeEq as _;

use super::sessions::Session;
use crate::{
    http::Why,
    model::{Refusal, RefusalKind},
};

/// What a form holds.
pub(super) type Fields = BTreeMap<String, String>;

/// A form that its own page has sent.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) session: Session,
    pub(super) fields: Fields,
}

/// One that changes something, of somebody who may.
#[derive(Debug)]
pub(super) struct Change(pub(super) Posted);

impl<S: Send + Sync> FromRequest<S> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let session = request.extensions().get::<Session>().cloned();
        let session = session.ok_or_else(|| denied("nobody is signed in"))?;
        let form = Form::<Fields>::from_request(request, state).await;
        let Form(fields) = form.map_err(|rejection| rejection.into_response())?;
        let token = fields.get("csrf").map(String::as_str).unwrap_or_default();
        let is_own = token.as_bytes().ct_eq(session.csrf.as_bytes());
        match bool::from(is_own) {
            true => Ok(Self { session, fields }),
            false => Err(denied(
                "the form is none of this session: load the page again",
            )),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Change {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let posted = Posted::from_request(request, state).await?;
        match posted.session.may_change() {
            true => Ok(Self(posted)),
            false => Err(denied("this user may look, and change nothing")),
        }
    }
}

fn denied(why: &'static str) -> Response {
    let told = Extension(Why(why.to_owned()));
    (StatusCode::FORBIDDEN, told, format!("{why}\n")).into_response()
}

impl Posted {
    /// A field's text without the space around it; empty when it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |text| text.trim())
    }
}

/// A page that says what was refused: its status, and why for the events.
pub(super) fn refused(refusal: &Refusal, page: Response) -> Response {
    let status = match refusal.kind {
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::Denied => StatusCode::FORBIDDEN,
        RefusalKind::NotReady | RefusalKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
        RefusalKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    (status, Extension(Why(refusal.description.clone())), page).into_response()
}

/// What every form that is posted holds.
pub(super) fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

/// One line of a form.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) name: &'a str,
    pub(super) label: &'a str,
    pub(super) hint: &'a str,
    pub(super) value: &'a str,
}

impl Field<'_> {
    /// With the refusal below it, if it is about this field.
    pub(super) fn input(&self, refusal: Option<&Refusal>) -> Markup {
        let wrong = refusal.filter(|r| r.field.as_deref() == Some(self.name));
        html! {
            p.field {
                label for=(self.name) { (self.label) }
                input type="text" id=(self.name) name=(self.name) value=(self.value)
                    autocomplete="off" spellcheck="false" aria-invalid=[wrong.map(|_| "true")]
                    aria-describedby={ (self.name) "-hint" };
                small id={ (self.name) "-hint" } {
                    @if let Some(wrong) = wrong { (why(wrong)) } @else { (self.hint) }
                }
            }
        }
    }
}

/// What is wrong, and what to do.
fn why(refusal: &Refusal) -> Markup {
    html! {
        strong.wrong { (refusal.description) }
        @if let Some(fix) = &refusal.fix { " Fix: " code { (fix) } }
    }
}

/// The refusal above everything, where a screen reader begins.
pub(super) fn alert(refusal: Option<&Refusal>) -> Markup {
    html! {
        @if let Some(refusal) = refusal {
            div.alert role="alert" { (why(refusal)) }
        }
    }
}
