//! What a page is asked for by its address. An address that says what the page does not know is
//! refused, with what it knows, in words of the console's own.

use axum::{
    Extension,
    extract::{FromRequestParts, Query},
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};

use super::form::Fields;
use crate::{http::Why, model::Refusal};

/// Of a wrong value, in letters.
const SHOWN: usize = 64;

/// What one page may be asked for.
pub(super) trait Wanted: Sized {
    /// The names that its address may have.
    const NAMES: &[&str];

    fn read(asked: &Asked<'_>) -> Result<Self, Refusal>;
}

/// The part of an address behind `?`.
#[derive(Debug)]
pub(super) struct Asked<'a>(&'a Fields);

impl Asked<'_> {
    /// Empty when it is missing.
    pub(super) fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// All of it, as a form shows it again.
    pub(super) fn fields(&self) -> Fields {
        self.0.clone()
    }

    /// One of these, or nothing.
    pub(super) fn choice<'c>(
        &self,
        name: &str,
        mut choices: impl Iterator<Item = &'c str> + Clone,
    ) -> Result<String, Refusal> {
        let text = self.text(name);
        if text.is_empty() || choices.clone().any(|choice| choice == text) {
            return Ok(text);
        }
        let all: Vec<&str> = choices.by_ref().collect();
        let shown = short(&text);
        let text = format!("{name}={shown} is none of: {}", all.join(", "));
        Err(Refusal::invalid(name, text))
    }

    /// A number from 1 on; 1 when it is missing.
    pub(super) fn count(&self, name: &str) -> Result<usize, Refusal> {
        let Some(text) = self.0.get(name) else {
            return Ok(1);
        };
        let number = text.parse().ok().filter(|number| *number > 0);
        number.ok_or_else(|| {
            let shown = short(text);
            Refusal::invalid(name, format!("{name}={shown} is not a number from 1 on"))
        })
    }
}

fn short(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// What the page's address says, all of it right.
#[derive(Debug)]
pub(super) struct Of<T>(pub(super) T);

impl<S: Send + Sync, T: Wanted> FromRequestParts<S> for Of<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        let query = Query::<Fields>::from_request_parts(parts, state).await;
        let Query(fields) = query.map_err(|_| wrong("the address cannot be read".to_owned()))?;
        if let Some(other) = fields
            .keys()
            .find(|name| !T::NAMES.contains(&name.as_str()))
        {
            let known = match T::NAMES {
                [] => "nothing".to_owned(),
                names => names.join(", "),
            };
            let other = short(other);
            return Err(wrong(format!(
                "this page cannot be asked for {other:?}: it knows {known}"
            )));
        }
        let read = T::read(&Asked(&fields));
        read.map(Self).map_err(|refusal| wrong(refusal.description))
    }
}

/// In plain words, of which [`super::problem`] makes a page.
fn wrong(why: String) -> Response {
    let told = Extension(Why(why.clone()));
    (StatusCode::BAD_REQUEST, told, why).into_response()
}

/// Of a page that is asked for nothing.
#[derive(Debug)]
pub(super) struct Nothing;

impl Wanted for Nothing {
    const NAMES: &[&str] = &[];

    fn read(_: &Asked<'_>) -> Result<Self, Refusal> {
        Ok(Self)
    }
}
