//! Refusals as HTTP answers: one shape, and a status that follows from the kind.

use std::collections::BTreeMap;

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse as _, Json, Response},
};
use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response as Answer, ResponseBuilder},
};

use crate::{
    api::ErrorBody,
    http::Why,
    model::{Refusal, RefusalKind},
};

/// The answer to what was refused.
pub(super) fn failure(refusal: Refusal) -> Response {
    let (status, why) = (status_of(refusal.kind), Why(refusal.description.clone()));
    (status, Extension(why), Json(ErrorBody::from(refusal))).into_response()
}

/// The HTTP status of a refusal; the command line's exit codes follow from the kind, not from it.
fn status_of(kind: RefusalKind) -> StatusCode {
    match kind {
        RefusalKind::Invalid
        | RefusalKind::UnknownField
        | RefusalKind::Unsupported
        | RefusalKind::Ambiguous
        | RefusalKind::PortOutOfRange
        | RefusalKind::AddressRefused => StatusCode::BAD_REQUEST,
        RefusalKind::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        RefusalKind::Denied => StatusCode::FORBIDDEN,
        RefusalKind::NotFound => StatusCode::NOT_FOUND,
        RefusalKind::NameTaken
        | RefusalKind::InstanceTaken
        | RefusalKind::PortAssigned
        | RefusalKind::PortHeld
        | RefusalKind::RangeExhausted
        | RefusalKind::QuotaExceeded
        | RefusalKind::TooManyBackends
        | RefusalKind::Conflict => StatusCode::CONFLICT,
        RefusalKind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        RefusalKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
        RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Every answer to a change that was refused, for the document.
pub(super) struct Refused;

/// The same for questions.
pub(super) struct NotTold;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        answers(|_| true)
    }
}

impl IntoResponses for NotTold {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        answers(|status| !matches!(status, StatusCode::CONFLICT | StatusCode::PAYLOAD_TOO_LARGE))
    }
}

/// One answer a status, with the kinds of refusal that have it.
fn answers(is_meant: impl Fn(StatusCode) -> bool) -> BTreeMap<String, RefOr<Answer>> {
    let mut kinds: BTreeMap<StatusCode, Vec<&str>> = BTreeMap::new();
    for kind in RefusalKind::ALL {
        kinds.entry(status_of(kind)).or_default().push(kind.name());
    }
    // By TCP, without a token.
    kinds.insert(StatusCode::UNAUTHORIZED, vec![RefusalKind::Denied.name()]);
    let meant = kinds.into_iter().filter(|(status, _)| is_meant(*status));
    meant
        .map(|(status, kinds)| (status.as_str().to_owned(), refusal(&kinds.join(", "))))
        .collect()
}

fn refusal(description: &str) -> RefOr<Answer> {
    let schema = Ref::from_schema_name("ErrorBody");
    let content = Content::new(Some(RefOr::Ref::<utoipa::openapi::Schema>(schema)));
    let answer = ResponseBuilder::new().description(description);
    RefOr::T(answer.content("application/json", content).build())
}
