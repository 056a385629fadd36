//! Reads and checks what a request carries: queries, and JSON bodies within a limit.

use axum::{
    body::Bytes,
    extract::{
        Query,
        rejection::{BytesRejection, QueryRejection},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use super::{event_log::seconds, event_reader::EventFilter, operations::Answer};
use crate::model::{EventKind, PortRef, Refusal, RefusalKind, from_rfc3339};

/// The longest body of most routes.
pub(super) const BODY_LIMIT: usize = 64 * 1024;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The most items of a page.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// What the page before said; its items follow.
    #[serde(rename = "continue")]
    pub(super) token: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PortQuery {
    /// A number, NUMBER/PROTOCOL, a name or an id; missing: all.
    pub(super) port: Option<String>,
    /// The most items of a page.
    #[param(minimum = 1, maximum = 1000)]
    pub(super) limit: Option<usize>,
    /// What the page before said; its items follow.
    #[serde(rename = "continue")]
    pub(super) token: Option<String>,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Those after this id; 0: all that are kept; missing: those to come, or with `follow=false` or
    /// `within_s` all.
    pub(super) since: Option<u64>,
    /// Whether the stream goes on with what is to come.
    #[param(default = true)]
    pub(super) follow: Option<bool>,
    /// Those of the last so many seconds.
    pub(super) within_s: Option<u64>,
    /// Those from this moment on, as RFC 3339 has it: 2026-11-29T22:05:31+01:00.
    pub(super) from: Option<String>,
    /// Of those that are kept the last so many.
    pub(super) last: Option<usize>,
    /// Those about this port: a number, NUMBER/PROTOCOL, a name or an id.
    pub(super) port: Option<String>,
    /// Those of these kinds, separated by commas.
    pub(super) kind: Option<String>,
    /// Those that somebody has asked for.
    pub(super) audit: Option<bool>,
}

impl EventQuery {
    pub(super) fn filter(&self) -> Answer<EventFilter> {
        let kinds = self.kind.iter().flat_map(|kinds| kinds.split(','));
        let kinds: Result<_, String> = kinds.map(EventKind::parse).collect();
        let within = self.within_s.map(|within| seconds().saturating_sub(within));
        let from = self.from.as_deref().map(|text| {
            let wrong = || Refusal::invalid("from", "it is no moment as RFC 3339 writes it");
            from_rfc3339(text).ok_or_else(wrong)
        });
        let from = from.transpose()?.unwrap_or_default();
        Ok(EventFilter {
            port: self.port.as_deref().map(PortRef::of_one).transpose()?,
            kinds: kinds.map_err(|text| Refusal::invalid("kind", text))?,
            not_before: within.unwrap_or_default().max(from),
            is_audit: self.audit.unwrap_or_default(),
        })
    }
}

impl PortQuery {
    pub(super) fn reference(&self) -> Answer<Option<PortRef>> {
        self.port.as_deref().map(PortRef::parse).transpose()
    }
}

pub(super) type Body = Result<Bytes, BytesRejection>;

pub(super) fn parsed<T: DeserializeOwned>(body: Body) -> Answer<T> {
    parsed_within(body, BODY_LIMIT)
}

/// For a route with another limit.
pub(super) fn parsed_within<T: DeserializeOwned>(body: Body, limit: usize) -> Answer<T> {
    let bytes = body.map_err(|_| too_long(limit))?;
    serde_json::from_slice(&bytes).map_err(|error| from_serde(&error.to_string()))
}

pub(super) fn too_long(limit: usize) -> Refusal {
    let text = format!("the request's body is longer than {limit} bytes");
    Refusal::new(RefusalKind::BodyTooLarge, text)
}

pub(super) fn checked<T>(query: Result<Query<T>, QueryRejection>) -> Answer<T> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| from_serde(&rejection.body_text()))
}

/// serde names the field between backticks: "unknown field `x`, expected one of ...".
fn from_serde(message: &str) -> Refusal {
    let text: String = message.chars().take(400).collect();
    let kind = match message.contains("unknown field") {
        true => RefusalKind::UnknownField,
        false => RefusalKind::Invalid,
    };
    let refusal = Refusal::new(kind, text);
    let named = message.contains("unknown field") || message.contains("missing field");
    match message.split('`').nth(1).filter(|_| named) {
        Some(field) => refusal.field(field),
        None => refusal,
    }
}
