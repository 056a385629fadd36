//! Refusals as HTTP answers: one shape, and a status that follows from the kind.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Json, Response},
};

use super::wire::ErrorBody;
use crate::model::{Refusal, RefusalKind};

/// The answer to what was refused.
pub(super) fn failure(refusal: Refusal) -> Response {
    (status_of(refusal.kind), Json(ErrorBody::from(refusal))).into_response()
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
