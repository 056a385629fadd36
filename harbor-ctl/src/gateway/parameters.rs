//! Parameters of an instance: the settings of a port by their own names, `limits` for its limits
//! together, the number wanted, and how long it lives. What is not known is refused by name.

use serde_json::Value;

use super::{
    operations::Answer,
    pem::{PemPair, is_digest, read_tls},
};
use crate::model::{
    Lifetime, PortSettings, Refusal, RefusalKind, SETTINGS, SettingValue, SettingValues, nearest,
};

/// The longest parameters, in bytes: they are kept with the service.
const LIMIT: usize = 16 * 1024;

/// Parameters as they were given, each checked by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parameters {
    /// All of them.
    pub(crate) given: SettingValues,
    /// The number wanted.
    pub(crate) port: Option<u16>,
    pub(crate) lifetime: Option<Lifetime>,
    /// Those that are settings of the port.
    pub(crate) settings: SettingValues,
    /// A certificate with its key, to end TLS with; only in a request.
    pub(crate) pem: Option<PemPair>,
}

impl Parameters {
    /// Reads what was kept.
    pub(crate) fn kept(given: SettingValues) -> Answer<Self> {
        let mut settings = given.clone();
        let port = match settings.remove("port") {
            None | Some(SettingValue::Nothing(())) => None,
            Some(SettingValue::Number(number)) => Some(
                u16::try_from(number)
                    .ok()
                    .filter(|n| *n != 0)
                    .ok_or_else(wrong_port)?,
            ),
            Some(_) => return Err(wrong_port()),
        };
        let lifetime = Lifetime::take(&mut settings)?;
        if settings.get("tls").is_some_and(is_digest) {
            settings.remove("tls");
        }
        let defaults = PortSettings::default();
        defaults.with(&settings, &defaults)?;
        Ok(Self {
            given,
            port,
            lifetime,
            settings,
            pem: None,
        })
    }
}

/// Reads and checks the `parameters` of a request.
pub(crate) fn read_parameters(value: Option<Value>) -> Answer<Parameters> {
    let map = match value {
        None | Some(Value::Null) => return Ok(Parameters::default()),
        Some(Value::Object(map)) => map,
        Some(_) => {
            return Err(Refusal::invalid(
                "parameters",
                "parameters is not an object",
            ));
        }
    };
    let (mut given, mut pem) = (SettingValues::new(), None);
    let mut length = 0;
    for (key, value) in map {
        check_key(&key)?;
        length += key.len() + value.to_string().len();
        if length > LIMIT {
            let text = format!("parameters are longer than {LIMIT} bytes");
            return Err(Refusal::new(RefusalKind::BodyTooLarge, text).field("parameters"));
        }
        let read = serde_json::from_value(value);
        let wrong = |_| Refusal::invalid(&key, format!("{key}: this is no value for it"));
        let mut read = read.map_err(wrong)?;
        if key == "tls" {
            (read, pem) = read_tls(read)?;
        }
        given.insert(key, read);
    }
    Ok(Parameters {
        pem,
        ..Parameters::kept(given)?
    })
}

/// Names that are parameters without being settings.
pub(super) const OWN: [&str; 3] = ["port", "for", "limits"];

fn is_setting(key: &str) -> bool {
    SETTINGS.iter().any(|(name, _)| *name == key)
}

fn check_key(key: &str) -> Answer<()> {
    if OWN.contains(&key) || is_setting(key) {
        return Ok(());
    }
    let shown: String = key.chars().take(64).collect();
    let names = || {
        let own = OWN.iter().map(|name| (*name).to_owned());
        own.chain(SETTINGS.iter().map(|(name, _)| (*name).to_owned()))
    };
    let fix = match nearest(&shown, names()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!(
            "valid parameters: {}",
            names().collect::<Vec<_>>().join(", ")
        ),
    };
    let text = format!("unknown parameter {shown:?}");
    Err(Refusal::new(RefusalKind::UnknownField, text)
        .field(&shown)
        .fix(fix))
}

fn wrong_port() -> Refusal {
    Refusal::invalid("port", "port: a number from 1 to 65535 is expected")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_settings_by_their_names() {
        let read = read_parameters(Some(json!({
            "port": 35_010, "for": "2h", "policy": "first", "limits": {"max_connections": 5},
            "health": {"type": "tcp"}, "allowed_cidrs": ["10.0.0.0/8"]
        })))
        .unwrap();
        assert_eq!(read.port, Some(35_010));
        assert_eq!(read.lifetime, Some(Lifetime::Seconds(7_200)));
        let defaults = PortSettings::default();
        let settings = defaults.with(&read.settings, &defaults).unwrap();
        assert_eq!(settings.max_connections, 5);
        assert_eq!(read.given.len(), 6);
        assert_eq!(read_parameters(None).unwrap(), Parameters::default());
    }

    #[test]
    fn what_is_wrong_is_refused_by_name() {
        for (value, field) in [
            (json!({"colour": "red"}), "colour"),
            (json!({"max_conections": 1}), "max_conections"),
            (json!({"policy": "random"}), "policy"),
            (json!({"drain_s": -1}), "drain_s"),
            (json!({"drain_s": true}), "drain_s"),
            (json!({"port": 0}), "port"),
            (json!({"port": "35000"}), "port"),
            (json!({"for": "soon"}), "for"),
            (json!({"limits": {"flows": 1}}), "limits.flows"),
            (json!({"tls": "/etc/shadow,/etc/shadow"}), "tls"),
            (json!({"tls": {"certificate": "x", "key": "y"}}), "tls"),
            (json!({"tls": {"sha256": "00"}}), "tls"),
            (json!([]), "parameters"),
            (
                json!({"allowed_cidrs": vec!["10.0.0.0/8"; 2_000]}),
                "parameters",
            ),
        ] {
            let refusal = read_parameters(Some(value)).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some(field), "{refusal:?}");
        }
    }
}
