//! `health` as a JSON object: one value for all of its keys, `{"type": "http", "path": "/up"}`.

use std::collections::BTreeMap;

use super::{
    health_check::HealthCheck,
    refusal::{Refusal, RefusalKind},
    setting_value::SettingValue,
};

type Parts = BTreeMap<String, SettingValue>;

/// Parts that are settings by themselves, as `health_...`.
const OWN_KEYS: [(&str, &str); 6] = [
    ("port", "health_port"),
    ("status", "health_status"),
    ("interval_s", "health_interval_s"),
    ("timeout_s", "health_timeout_s"),
    ("rise", "health_rise"),
    ("fall", "health_fall"),
];

/// The settings that an object stands for: all of them, so that what it leaves out has its default.
pub(super) fn health_keys(parts: &Parts) -> Result<Vec<(&'static str, SettingValue)>, Refusal> {
    let check = check(parts)?;
    let mut keys = vec![("health", SettingValue::Text(check.to_string()))];
    for (part, key) in OWN_KEYS {
        let value = parts.get(part).cloned();
        keys.push((key, value.unwrap_or(SettingValue::Nothing(()))));
    }
    Ok(keys)
}

fn check(parts: &Parts) -> Result<HealthCheck, Refusal> {
    let wrong = |text: String| Refusal::invalid("health", format!("health: {text}"));
    let kind = text(parts, "type")?.unwrap_or_default();
    let of_kind: &[&str] = match kind {
        "off" | "tcp" => &[],
        "http" => &["path"],
        "udp" => &["send", "expect"],
        _ => {
            let kind: String = kind.chars().take(80).collect();
            return Err(wrong(format!(
                "type {kind:?}: off, tcp, http or udp is expected"
            )));
        }
    };
    let is_known = |name: &String| {
        name == "type"
            || of_kind.contains(&name.as_str())
            || OWN_KEYS.iter().any(|(part, _)| part == name)
    };
    if let Some(stranger) = parts.keys().find(|name| !is_known(name)) {
        let shown: String = stranger.chars().take(80).collect();
        let own = OWN_KEYS.iter().map(|(part, _)| *part);
        let valid: Vec<&str> = of_kind.iter().copied().chain(own).collect();
        let text = format!("health of type {kind} has no {shown:?}");
        return Err(Refusal::new(RefusalKind::UnknownField, text)
            .field("health")
            .fix(format!("valid parts: {}", valid.join(", "))));
    }
    let part = |name| text(parts, name).map(Option::unwrap_or_default);
    match kind {
        "tcp" => Ok(HealthCheck::Tcp),
        "http" => HealthCheck::http(text(parts, "path")?.unwrap_or("/")).map_err(wrong),
        "udp" => HealthCheck::udp(part("send")?, part("expect")?).map_err(wrong),
        _ => Ok(HealthCheck::Off),
    }
}

fn text<'a>(parts: &'a Parts, name: &str) -> Result<Option<&'a str>, Refusal> {
    match parts.get(name) {
        None | Some(SettingValue::Nothing(())) => Ok(None),
        Some(SettingValue::Text(text)) => Ok(Some(text)),
        Some(_) => {
            let text = format!("health: {name} is a text");
            Err(Refusal::invalid("health", text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PortSettings, SettingValues};

    fn set(json: &str) -> Result<PortSettings, Refusal> {
        let values: SettingValues = serde_json::from_str(json).unwrap();
        let defaults = PortSettings::default();
        let before = PortSettings {
            health_rise: 9,
            ..PortSettings::default()
        };
        before.with(&values, &defaults)
    }

    #[test]
    fn an_object_sets_every_key_of_health() {
        let settings = set(
            r#"{"health": {"type": "http", "path": "/up", "interval_s": 5, "status": "204",
                "timeout_s": 1, "fall": 2, "port": 8081}}"#,
        )
        .unwrap();
        let shown = |key| settings.shown(key).unwrap_or_default();
        assert_eq!(shown("health"), "http:/up");
        assert_eq!(shown("health_status"), "204");
        assert_eq!(
            (settings.health_interval_s, settings.health_timeout_s),
            (5, 1)
        );
        assert_eq!((settings.health_fall, settings.health_port), (2, 8081));
        assert_eq!(settings.health_rise, 0, "what is left out has its default");
        let udp = set(r#"{"health": {"type": "udp", "send": "a/b\\n", "expect": "c"}}"#).unwrap();
        assert_eq!(udp.shown("health").unwrap(), r"udp:a\/b\n/c");
        let text = set(r#"{"health": "tcp", "health_status": 204}"#).unwrap();
        assert_eq!(text.shown("health_status").unwrap(), "204");
    }

    #[test]
    fn what_is_wrong_in_an_object_is_named() {
        for (json, word) in [
            (r#"{"health": {}}"#, "type"),
            (r#"{"health": {"type": "icmp"}}"#, "icmp"),
            (r#"{"health": {"type": "tcp", "path": "/"}}"#, "path"),
            (r#"{"health": {"type": "http", "path": "up"}}"#, "up"),
            (r#"{"health": {"type": "http", "path": 5}}"#, "path"),
            (r#"{"health": {"type": "udp"}}"#, "send"),
            (r#"{"health": {"type": "tcp", "fall": 1000}}"#, "fall"),
            (r#"{"health": ["tcp"]}"#, "health"),
            (r#"{"policy": {"type": "first"}}"#, "policy"),
        ] {
            let refusal = set(json).unwrap_err();
            assert!(refusal.description.contains(word), "{json}: {refusal}");
        }
    }
}
