//! Refusals in the words of the specification: a status, and an error code where it knows one.
//!
//! Whoever answers 5xx to a provision is sent a deprovision, so what the platform's user can put
//! right is never one.

use std::collections::BTreeMap;

use axum::{
    Extension,
    http::StatusCode,
    response::{IntoResponse as _, Json, Response},
};
use utoipa::{
    IntoResponses,
    openapi::{Content, Ref, RefOr, Response as Answer, ResponseBuilder, Schema},
};

use super::responses::Problem;
use crate::{
    http::Why,
    model::{Refusal, RefusalKind},
};

/// The answer to what was refused.
pub(super) fn failure(refusal: &Refusal) -> Response {
    let (status, error) = meaning(refusal);
    let description = description(refusal);
    let field = refusal.field.clone();
    let why = Why(refusal.description.clone());
    let body = Problem {
        error,
        description,
        field,
    };
    (status, Extension(why), Json(body)).into_response()
}

/// What a platform's user is told: whose a number is, and by which process or rule it is held, is the
/// node's own affair.
fn description(refusal: &Refusal) -> String {
    let first = refusal.description.lines().next().unwrap_or_default();
    match (&refusal.kind, &refusal.fix) {
        (RefusalKind::PortAssigned | RefusalKind::PortHeld, _) => {
            let number = first.split(" is ").next().unwrap_or("the port");
            format!("{number} is taken (ask for another number, or for none)")
        }
        (_, Some(fix)) => format!("{first} ({fix})"),
        (_, None) => first.to_owned(),
    }
}

/// A refusal that has a status and a sentence, and nothing else.
pub(super) fn plain(status: StatusCode, description: &str) -> Response {
    let body = Problem {
        error: None,
        description: description.to_owned(),
        field: None,
    };
    (status, Json(body)).into_response()
}

/// Every answer to what was refused, for the document.
pub(super) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        let mut statuses: BTreeMap<StatusCode, Vec<&str>> = BTreeMap::new();
        for kind in RefusalKind::ALL {
            let (status, code) = meaning(&Refusal::new(kind, ""));
            let codes = statuses.entry(status).or_default();
            codes.extend(code.filter(|code| !codes.contains(code)));
        }
        for early in [StatusCode::UNAUTHORIZED, StatusCode::PRECONDITION_FAILED] {
            statuses.entry(early).or_default();
        }
        statuses.into_iter().map(described).collect()
    }
}

fn described((status, codes): (StatusCode, Vec<&str>)) -> (String, RefOr<Answer>) {
    let reason = status.canonical_reason().unwrap_or_default();
    let description = match codes.is_empty() {
        true => reason.to_owned(),
        false => format!("{reason}: {}", codes.join(", ")),
    };
    let schema = Ref::from_schema_name("Problem");
    let content = Content::new(Some(RefOr::Ref::<Schema>(schema)));
    let answer = ResponseBuilder::new().description(description);
    let answer = answer.content("application/json", content).build();
    (status.as_str().to_owned(), RefOr::T(answer))
}

fn meaning(refusal: &Refusal) -> (StatusCode, Option<&'static str>) {
    let unprocessable = |code| (StatusCode::UNPROCESSABLE_ENTITY, Some(code));
    match refusal.kind {
        RefusalKind::Invalid
        | RefusalKind::UnknownField
        | RefusalKind::Unsupported
        | RefusalKind::Ambiguous
        | RefusalKind::PortOutOfRange
        | RefusalKind::AddressRefused => (StatusCode::BAD_REQUEST, None),
        RefusalKind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, None),
        RefusalKind::Denied => (StatusCode::FORBIDDEN, None),
        RefusalKind::NotFound => (StatusCode::NOT_FOUND, None),
        RefusalKind::InstanceTaken | RefusalKind::NameTaken => (StatusCode::CONFLICT, None),
        RefusalKind::RangeExhausted => unprocessable("PortRangeExhausted"),
        RefusalKind::QuotaExceeded => unprocessable("QuotaExceeded"),
        RefusalKind::PortAssigned | RefusalKind::PortHeld => unprocessable("PortTaken"),
        RefusalKind::Conflict if refusal.field.as_deref() == Some("maintenance_info") => {
            unprocessable("MaintenanceInfoConflict")
        }
        RefusalKind::TooManyBackends | RefusalKind::Conflict => unprocessable("Refused"),
        RefusalKind::NotReady => (StatusCode::SERVICE_UNAVAILABLE, None),
        RefusalKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, None),
        RefusalKind::Failed => (StatusCode::INTERNAL_SERVER_ERROR, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_not_told_who_has_a_number() {
        for (kind, text) in [
            (
                RefusalKind::PortHeld,
                "port 35500/tcp is held by another process\nheld by: pid 7 node",
            ),
            (
                RefusalKind::PortAssigned,
                "port 35500/tcp is assigned to service secret",
            ),
        ] {
            let refusal = Refusal::new(kind, text).fix("harbor-ctl ports show secret");
            let told = description(&refusal);
            assert_eq!(
                told,
                "port 35500/tcp is taken (ask for another number, or for none)"
            );
        }
    }

    #[test]
    fn what_a_user_can_put_right_is_no_server_error() {
        for kind in RefusalKind::ALL {
            let (status, _) = meaning(&Refusal::new(kind, "x"));
            let is_ours = matches!(
                kind,
                RefusalKind::NotReady | RefusalKind::Timeout | RefusalKind::Failed
            );
            assert_eq!(status.is_server_error(), is_ours, "{kind:?}");
        }
    }
}
