//! `limits` as a JSON object: one value for all limits of a port, `{"max_connections": 100}`.

use std::collections::BTreeMap;

use super::{
    refusal::{Refusal, RefusalKind},
    setting_value::SettingValue,
};

/// The settings that `limits` is made of.
pub(crate) const LIMITS: [&str; 5] = [
    "max_connections",
    "max_per_client",
    "new_per_second",
    "packets_per_second",
    "bytes_per_second",
];

/// The settings that an object stands for: those that it names; the others stay.
pub(super) fn limit_keys(
    parts: &BTreeMap<String, SettingValue>,
) -> Result<Vec<(&'static str, SettingValue)>, Refusal> {
    let mut keys = Vec::new();
    for (name, value) in parts {
        let Some(key) = LIMITS.iter().find(|key| *key == name) else {
            let shown: String = name.chars().take(64).collect();
            let text = format!("limits has no {shown:?}");
            return Err(Refusal::new(RefusalKind::UnknownField, text)
                .field(&format!("limits.{shown}"))
                .fix(format!("it has {}", LIMITS.join(", "))));
        };
        keys.push((*key, value.clone()));
    }
    Ok(keys)
}
