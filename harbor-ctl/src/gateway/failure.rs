//! Refusals in the words of the specification: a status, and an error code where it knows one.
//!
//! Whoever answers 5xx to a provision is sent a deprovision, so what the platform's user can put
//! right is never one.

use axum::{
    http::StatusCode,
    response::{IntoResponse as _, Json, Response},
};
use serde_json::{Map, Value};

use crate::model::{Refusal, RefusalKind};

/// The answer to what was refused.
pub(super) fn failure(refusal: &Refusal) -> Response {
    let (status, code) = meaning(refusal);
    let mut body = Map::new();
    let mut add = |key: &str, value: Option<&str>| {
        if let Some(value) = value {
            body.insert(key.to_owned(), Value::from(value));
        }
    };
    let description = match &refusal.fix {
        Some(fix) => format!("{} ({fix})", refusal.description),
        None => refusal.description.clone(),
    };
    add("error", code);
    add("description", Some(&description));
    add("field", refusal.field.as_deref());
    (status, Json(body)).into_response()
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
