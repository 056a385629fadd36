//! On whose behalf a platform asks: a platform's name, and an object in base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

use super::operations::Answer;
use crate::model::Refusal;

/// The header.
pub(super) const IDENTITY: &str = "x-broker-api-originating-identity";
/// The longest that is read, and that is written to the log.
const LIMIT: usize = 4_096;

/// Reads the header's value: the platform, and the object in one line.
pub(super) fn read(value: &str) -> Answer<String> {
    let wrong = |text: &str| {
        let text = format!("X-Broker-API-Originating-Identity {text}");
        Refusal::invalid("X-Broker-API-Originating-Identity", text)
    };
    if value.len() > LIMIT {
        return Err(wrong("is longer than 4096 bytes"));
    }
    let (platform, object) = value
        .split_once(' ')
        .ok_or_else(|| wrong("is not PLATFORM OBJECT"))?;
    let bytes = STANDARD
        .decode(object.trim())
        .map_err(|_| wrong("holds no base64"))?;
    let object: Map<String, Value> =
        serde_json::from_slice(&bytes).map_err(|_| wrong("holds no JSON object"))?;
    Ok(format!("{platform} {}", Value::Object(object)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_or_refused() {
        let read_back = read("cloudfoundry eyJ1c2VyX2lkIjogIjY4MyJ9").unwrap();
        assert_eq!(read_back, "cloudfoundry {\"user_id\":\"683\"}");
        for wrong in [
            "",
            "cloudfoundry",
            "cloudfoundry !",
            "cloudfoundry WzFd",
            &"x".repeat(5_000),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
