//! What an operator may set for one port: one table of keys, one way to read a value, for `ports
//! create`, `ports set` and the API alike.

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Policy, Refusal, RefusalKind, nearest, parse_network};

/// The most networks of one list.
const NETWORK_LIMIT: usize = 1_000;
const DAY: u64 = 86_400;

/// The settings of one port, valid. A number that is 0 limits nothing, but for `drain_s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PortSettings {
    /// For new TCP connections.
    #[serde(alias = "tcp_policy")]
    pub(crate) policy: Policy,
    /// For new UDP flows.
    pub(crate) udp_policy: Policy,
    /// Seconds that a removed backend keeps its flows.
    #[serde(alias = "drain_seconds")]
    pub(crate) drain_s: u32,
    /// Who may open flows; empty: everybody.
    pub(crate) allowed_cidrs: Vec<IpNet>,
    /// Who may not; the narrower network of both lists wins.
    pub(crate) denied_cidrs: Vec<IpNet>,
    /// Flows at once.
    pub(crate) max_connections: u32,
    /// New flows a second.
    pub(crate) new_per_second: u32,
    /// Packets a second, both directions.
    pub(crate) packets_per_second: u32,
    /// Bytes of IP packets a second, both directions.
    pub(crate) bytes_per_second: u64,
    /// Seconds for which a client's address keeps its backend.
    pub(crate) affinity_s: u32,
    /// Seconds of silence that end an established flow; 0 = the node's `[timeouts]`.
    pub(crate) idle_timeout_s: u32,
    /// UDP: bytes that may come back before the client has sent a second datagram.
    pub(crate) reply_cap_bytes: u32,
}

impl Default for PortSettings {
    fn default() -> Self {
        Self {
            policy: Policy::RoundRobin,
            udp_policy: Policy::First,
            drain_s: 30,
            allowed_cidrs: Vec::new(),
            denied_cidrs: Vec::new(),
            max_connections: 0,
            new_per_second: 0,
            packets_per_second: 0,
            bytes_per_second: 0,
            affinity_s: 0,
            idle_timeout_s: 0,
            reply_cap_bytes: 0,
        }
    }
}

/// Every key, with what it means; the order in which they are shown.
pub(crate) const SETTINGS: [(&str, &str); 12] = [
    ("policy", "how new TCP connections find their backend"),
    ("udp_policy", "how new UDP flows find their backend"),
    ("allowed_cidrs", "networks that may open flows"),
    ("denied_cidrs", "networks that may not"),
    ("max_connections", "flows at once"),
    ("new_per_second", "new flows a second"),
    ("packets_per_second", "packets a second, both directions"),
    ("bytes_per_second", "bytes a second, both directions"),
    ("affinity_s", "seconds for which a client keeps its backend"),
    (
        "idle_timeout_s",
        "seconds of silence that end an established flow",
    ),
    ("drain_s", "seconds that a removed backend keeps its flows"),
    (
        "reply_cap_bytes",
        "UDP: bytes back before the client's second datagram",
    ),
];

/// A value as it was given: typed in JSON, text on a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SettingValue {
    Nothing(()),
    Number(u64),
    Text(String),
    List(Vec<String>),
}

/// Keys with their values, as they were given.
pub(crate) type SettingValues = BTreeMap<String, SettingValue>;

impl PortSettings {
    /// These settings with every given value read and checked; nothing is changed if one is wrong.
    ///
    /// An empty value and `none` put back what `defaults` says.
    pub(crate) fn with(&self, values: &SettingValues, defaults: &Self) -> Result<Self, Refusal> {
        let mut settings = self.clone();
        for (key, value) in values {
            settings.set(key, value, defaults)?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &SettingValue, defaults: &Self) -> Result<(), Refusal> {
        let value = Given { key, value };
        match key {
            "policy" => self.policy = value.policy(defaults.policy)?,
            "udp_policy" => self.udp_policy = value.policy(defaults.udp_policy)?,
            "drain_s" => self.drain_s = value.small(DAY, defaults.drain_s)?,
            "allowed_cidrs" => self.allowed_cidrs = value.networks(&defaults.allowed_cidrs)?,
            "denied_cidrs" => self.denied_cidrs = value.networks(&defaults.denied_cidrs)?,
            "max_connections" => {
                self.max_connections =
                    value.small(u64::from(u32::MAX), defaults.max_connections)?;
            }
            "new_per_second" => {
                self.new_per_second = value.small(1_000_000_000, defaults.new_per_second)?;
            }
            "packets_per_second" => {
                self.packets_per_second =
                    value.small(1_000_000_000, defaults.packets_per_second)?;
            }
            "bytes_per_second" => {
                self.bytes_per_second =
                    value.number(1_000_000_000_000, defaults.bytes_per_second)?;
            }
            "affinity_s" => self.affinity_s = value.small(DAY, defaults.affinity_s)?,
            "idle_timeout_s" => {
                self.idle_timeout_s = value.small(30 * DAY, defaults.idle_timeout_s)?;
            }
            "reply_cap_bytes" => {
                self.reply_cap_bytes = value.small(1_000_000_000, defaults.reply_cap_bytes)?;
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }

    /// The value of a key as `ports show` prints it; `None` for what limits nothing.
    pub(crate) fn shown(&self, key: &str) -> Option<String> {
        let networks = |list: &[IpNet]| {
            let texts: Vec<String> = list.iter().map(ToString::to_string).collect();
            (!texts.is_empty()).then(|| texts.join(","))
        };
        let limit = |number: u64| (number != 0).then(|| number.to_string());
        match key {
            "policy" => Some(self.policy.to_string()),
            "udp_policy" => Some(self.udp_policy.to_string()),
            "drain_s" => Some(self.drain_s.to_string()),
            "allowed_cidrs" => networks(&self.allowed_cidrs),
            "denied_cidrs" => networks(&self.denied_cidrs),
            "max_connections" => limit(self.max_connections.into()),
            "new_per_second" => limit(self.new_per_second.into()),
            "packets_per_second" => limit(self.packets_per_second.into()),
            "bytes_per_second" => limit(self.bytes_per_second),
            "affinity_s" => limit(self.affinity_s.into()),
            "idle_timeout_s" => limit(self.idle_timeout_s.into()),
            "reply_cap_bytes" => limit(self.reply_cap_bytes.into()),
            _ => None,
        }
    }
}

/// One key with what was given for it.
struct Given<'a> {
    key: &'a str,
    value: &'a SettingValue,
}

impl Given<'_> {
    fn is_reset(&self) -> bool {
        match self.value {
            SettingValue::Nothing(()) => true,
            SettingValue::Text(text) => text.is_empty() || text == "none",
            SettingValue::Number(_) | SettingValue::List(_) => false,
        }
    }

    fn wrong(&self, text: &str) -> Refusal {
        Refusal::invalid(self.key, format!("{}: {text}", self.key))
    }

    fn policy(&self, default: Policy) -> Result<Policy, Refusal> {
        match self.value {
            _ if self.is_reset() => Ok(default),
            SettingValue::Text(text) => text.parse().map_err(|text: String| self.wrong(&text)),
            _ => Err(self.wrong("the name of a policy is expected")),
        }
    }

    fn number(&self, most: u64, default: u64) -> Result<u64, Refusal> {
        let number = match self.value {
            _ if self.is_reset() => return Ok(default),
            SettingValue::Number(number) => Some(*number),
            SettingValue::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok()
            }
            _ => None,
        };
        number
            .filter(|number| *number <= most)
            .ok_or_else(|| self.wrong(&format!("a number from 0 to {most} is expected")))
    }

    fn small(&self, most: u64, default: u32) -> Result<u32, Refusal> {
        let number = self.number(most.min(u32::MAX.into()), default.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    fn networks(&self, default: &[IpNet]) -> Result<Vec<IpNet>, Refusal> {
        let words: Vec<&str> = match self.value {
            _ if self.is_reset() => return Ok(default.to_vec()),
            SettingValue::Text(text) => text.split(',').map(str::trim).collect(),
            SettingValue::List(list) => list.iter().map(String::as_str).collect(),
            _ => return Err(self.wrong("a list of networks is expected")),
        };
        if words.len() > NETWORK_LIMIT {
            return Err(self.wrong(&format!("{NETWORK_LIMIT} networks are the most")));
        }
        let read = |word: &&str| parse_network(word).map_err(|text| self.wrong(&text));
        let mut networks = words.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        networks.sort_unstable();
        networks.dedup();
        Ok(networks)
    }
}

/// The answer to a key that does not exist.
fn unknown(key: &str) -> Refusal {
    let shown: String = key.chars().take(64).collect();
    let names = || SETTINGS.iter().map(|(name, _)| (*name).to_owned());
    let valid = names().collect::<Vec<_>>().join(", ");
    let fix = match nearest(&shown, names()) {
        Some(near) => format!("did you mean {near}? valid keys: {valid}"),
        None => format!("valid keys: {valid}"),
    };
    Refusal::new(RefusalKind::UnknownField, format!("unknown key {shown:?}"))
        .field(&shown)
        .fix(fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: SettingValue) -> SettingValues {
        BTreeMap::from([(key.to_owned(), value)])
    }

    fn text(key: &str, value: &str) -> Result<PortSettings, Refusal> {
        let defaults = PortSettings::default();
        defaults.with(&one(key, SettingValue::Text(value.into())), &defaults)
    }

    #[test]
    fn every_key_is_set_shown_and_put_back() {
        let samples = [
            ("policy", "source-hash"),
            ("udp_policy", "least-flows"),
            ("allowed_cidrs", "10.0.0.0/8,2001:db8::/32"),
            ("denied_cidrs", "10.1.0.0/16"),
            ("max_connections", "100"),
            ("new_per_second", "10"),
            ("packets_per_second", "1000"),
            ("bytes_per_second", "5000000000"),
            ("affinity_s", "60"),
            ("idle_timeout_s", "600"),
            ("drain_s", "0"),
            ("reply_cap_bytes", "4096"),
        ];
        assert_eq!(samples.len(), SETTINGS.len());
        let defaults = PortSettings::default();
        for (key, value) in samples {
            assert!(SETTINGS.iter().any(|(name, _)| *name == key), "{key}");
            let set = text(key, value).unwrap();
            assert_ne!(set, defaults, "{key}");
            assert_eq!(set.shown(key).as_deref(), Some(value));
            for nothing in [
                SettingValue::Text(String::new()),
                SettingValue::Text("none".into()),
                SettingValue::Nothing(()),
            ] {
                assert_eq!(set.with(&one(key, nothing), &defaults).unwrap(), defaults);
            }
        }
    }

    #[test]
    fn json_types_say_the_same_as_text() {
        let defaults = PortSettings::default();
        let values: SettingValues = serde_json::from_str(
            r#"{"max_connections": 5, "denied_cidrs": ["10.0.0.1"], "policy": null}"#,
        )
        .unwrap();
        let set = defaults.with(&values, &defaults).unwrap();
        assert_eq!(set.max_connections, 5);
        assert_eq!(set.shown("denied_cidrs").unwrap(), "10.0.0.1/32");
    }

    #[test]
    fn what_is_wrong_is_named_and_changes_nothing() {
        for (key, value) in [
            ("policy", "random"),
            ("max_connections", "-1"),
            ("max_connections", "many"),
            ("drain_s", "86401"),
            ("new_per_second", "99999999999"),
            ("allowed_cidrs", "10.0.0.0/8,"),
            ("allowed_cidrs", "host"),
        ] {
            let refusal = text(key, value).unwrap_err();
            assert_eq!(refusal.field.as_deref(), Some(key), "{value}");
            assert_eq!(refusal.kind, RefusalKind::Invalid);
        }
        let refusal = text("max_conections", "5").unwrap_err();
        assert_eq!(refusal.kind, RefusalKind::UnknownField);
        assert!(
            refusal
                .fix
                .unwrap()
                .starts_with("did you mean max_connections?")
        );
    }
}
