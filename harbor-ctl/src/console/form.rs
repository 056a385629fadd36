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

/// Of a wrong value, in letters.
const SHOWN: usize = 64;

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

/// In plain words, of which [`super::problem`] makes a page.
pub(super) fn denied(why: &'static str) -> Response {
    let told = Extension(Why(why.to_owned()));
    (StatusCode::FORBIDDEN, told, format!("{why}\n")).into_response()
}

impl Posted {
    /// A field's text without the space around it; empty when it is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |text| text.trim())
    }

    /// Whether a switch was sent as on; neither on nor off is refused.
    pub(super) fn is_on(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            "on" => Ok(true),
            "off" => Ok(false),
            other => {
                let shown: String = other.chars().take(SHOWN).collect();
                let text = format!("{name} is on or off, not {shown:?}");
                Err(Refusal::invalid(name, text))
            }
        }
    }

    /// What this form shows again when it is refused.
    pub(super) fn refused<'a>(&'a self, form: &'static str, refusal: &'a Refusal) -> Rejected<'a> {
        Rejected {
            form,
            entered: Entered::new(&self.fields, Some(refusal)),
        }
    }
}

/// One form of a page that was refused.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rejected<'a> {
    form: &'static str,
    pub(super) entered: Entered<'a>,
}

impl<'a> Rejected<'a> {
    /// What was entered into this form of the page, if it is the one that was refused.
    pub(super) fn of(rejected: Option<Self>, form: &str) -> Entered<'a> {
        let own = rejected.filter(|rejected| rejected.form == form);
        own.map(|own| own.entered).unwrap_or_default()
    }
}

/// What somebody has entered into a form, and what is wrong with it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Entered<'a> {
    fields: Option<&'a Fields>,
    pub(super) refusal: Option<&'a Refusal>,
}

impl<'a> Entered<'a> {
    pub(super) fn new(fields: &'a Fields, refusal: Option<&'a Refusal>) -> Self {
        Self {
            fields: Some(fields),
            refusal,
        }
    }

    /// As it was typed; `None`: nothing was sent.
    pub(super) fn typed(&self, name: &str) -> Option<&'a str> {
        self.fields?.get(name).map(String::as_str)
    }

    /// The same refusal, of a form in which nothing was typed.
    pub(super) fn untyped(self) -> Self {
        Self {
            fields: None,
            ..self
        }
    }

    /// What is wrong with this field.
    fn wrong(&self, name: &str) -> Option<&'a Refusal> {
        self.refusal.filter(|r| r.field.as_deref() == Some(name))
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

/// Where a list is searched for a text.
pub(super) fn search(label: &str, text: &str) -> Markup {
    html! {
        div.part {
            label for="q" { (label) }
            input type="search" id="q" name="q" value=(text);
        }
    }
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
    /// Where nothing was typed.
    pub(super) value: &'a str,
}

impl Field<'_> {
    /// With what was typed, and the refusal below it if it is about this field.
    pub(super) fn input(&self, entered: Entered<'_>) -> Markup {
        let value = entered.typed(self.name).unwrap_or(self.value);
        let wrong = entered.wrong(self.name);
        self.line(
            wrong,
            &html! {
                input type="text" id=(self.name) name=(self.name) value=(value)
                    autocomplete="off" spellcheck="false" aria-invalid=[wrong.map(|_| "true")]
                    aria-describedby={ (self.name) "-hint" };
            },
        )
    }

    /// A choice: each with its label. What is none of them and was sent all the same is shown too.
    pub(super) fn select(&self, entered: Entered<'_>, choices: &[(&str, &str)]) -> Markup {
        let value = entered.typed(self.name).unwrap_or(self.value);
        let wrong = entered.wrong(self.name);
        let is_choice = choices.iter().any(|(key, _)| *key == value);
        self.line(
            wrong,
            &html! {
                select id=(self.name) name=(self.name) aria-invalid=[wrong.map(|_| "true")]
                    aria-describedby={ (self.name) "-hint" } {
                    @for (key, label) in choices {
                        option value=(key) selected[*key == value] { (label) }
                    }
                    @if !is_choice { option value=(value) selected { (value) } }
                }
            },
        )
    }

    fn line(&self, wrong: Option<&Refusal>, control: &Markup) -> Markup {
        html! {
            p.field {
                label for=(self.name) { (self.label) }
                (control)
                small id={ (self.name) "-hint" } {
                    @if let Some(wrong) = wrong { (why(wrong)) " " }
                    (self.hint)
                }
            }
        }
    }
}

/// The button of a form in which nothing is typed, and why what it sends was refused.
pub(super) fn button(label: &str, name: Option<&str>, refusal: Option<&Refusal>) -> Markup {
    html! {
        button type="submit" aria-label=[name] aria-describedby=[refusal.map(|_| "refused")] { (label) }
        @if let Some(refusal) = refusal { " " small #refused { (why(refusal)) } }
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
