//! What an operator may set for one port: one table of keys, one way to read a value, for `ports
//! create`, `ports set` and the API alike.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    client_ip::ClientIp,
    given::Given,
    health_check::{HealthCheck, StatusRange},
    health_object::health_keys,
    limits_object::limit_keys,
    nearest,
    policy::Policy,
    refusal::{Refusal, RefusalKind},
    setting_value::{SettingValue, SettingValues},
    tls::Tls,
};

const DAY: u64 = 86_400;

/// The settings of one port, valid. A number that is 0 limits nothing, but for `drain_s`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
    #[schema(value_type = Vec<String>)]
    pub(crate) allowed_cidrs: Vec<IpNet>,
    /// Who may not; the narrower network of both lists wins.
    #[schema(value_type = Vec<String>)]
    pub(crate) denied_cidrs: Vec<IpNet>,
    /// Flows at once.
    pub(crate) max_connections: u32,
    /// Flows that one client keeps at once: an IPv4 address, or an IPv6 network of 64 bits.
    pub(crate) max_per_client: u32,
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
    /// What backends see of clients.
    pub(crate) client_ip: ClientIp,
    /// Who ends TLS.
    #[serde(skip_serializing_if = "is_by_name")]
    #[schema(value_type = String)]
    pub(crate) tls: Tls,
    /// How backends are probed; `None` = as `[health].check` says.
    #[schema(value_type = Option<String>)]
    pub(crate) health: Option<HealthCheck>,
    /// The backends' port that is probed; 0 = the one that serves.
    pub(crate) health_port: u16,
    /// HTTP statuses that are well; `None` = 200-399.
    #[schema(value_type = Option<String>)]
    pub(crate) health_status: Option<StatusRange>,
    /// Seconds between probes; these four 0 = the node's `[health]`.
    pub(crate) health_interval_s: u32,
    /// Seconds after which a probe has failed.
    pub(crate) health_timeout_s: u32,
    /// Passed probes in a row until a failing backend is up.
    pub(crate) health_rise: u32,
    /// Failed probes in a row until a backend is failing.
    pub(crate) health_fall: u32,
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
            max_per_client: 4_096,
            new_per_second: 0,
            packets_per_second: 0,
            bytes_per_second: 0,
            affinity_s: 0,
            idle_timeout_s: 0,
            reply_cap_bytes: 0,
            client_ip: ClientIp::Snat,
            tls: Tls::ByName,
            health: None,
            health_port: 0,
            health_status: None,
            health_interval_s: 0,
            health_timeout_s: 0,
            health_rise: 0,
            health_fall: 0,
        }
    }
}

/// Every key, with what it means; the order in which they are shown.
pub(crate) const SETTINGS: [(&str, &str); 22] = [
    ("policy", "how new TCP connections find their backend"),
    ("udp_policy", "how new UDP flows find their backend"),
    ("allowed_cidrs", "networks that may open flows"),
    ("denied_cidrs", "networks that may not"),
    ("max_connections", "flows at once"),
    ("max_per_client", "flows at once of one client"),
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
    (
        "client_ip",
        "what backends see of a client: snat, proxy-v1, proxy-v2",
    ),
    (
        "tls",
        "who ends TLS: off (the app), on (Harbor, with a certificate of the folder), or Harbor with \
         CERT,KEY; unset: on for names that end in https",
    ),
    (
        "health",
        "how backends are probed: off, tcp, http:/PATH, udp:SEND/EXPECT",
    ),
    ("health_port", "the backends' port that is probed"),
    ("health_status", "HTTP statuses that are well, as 200-399"),
    ("health_interval_s", "seconds between probes of a backend"),
    ("health_timeout_s", "seconds after which a probe has failed"),
    (
        "health_rise",
        "passed probes in a row until a failing backend is up",
    ),
    (
        "health_fall",
        "failed probes in a row until a backend is failing",
    ),
];

impl PortSettings {
    /// These settings with every given value read and checked; nothing is changed if one is wrong.
    ///
    /// An empty value and `none` put back what `defaults` says.
    pub(crate) fn with(&self, values: &SettingValues, defaults: &Self) -> Result<Self, Refusal> {
        let mut settings = self.clone();
        for (key, value) in values {
            match value {
                SettingValue::Object(parts) if key == "health" => {
                    for (key, value) in health_keys(parts)? {
                        settings.set(key, &value, defaults)?;
                    }
                }
                SettingValue::Object(parts) if key == "limits" => {
                    for (key, value) in limit_keys(parts)? {
                        settings.set(key, &value, defaults)?;
                    }
                }
                _ => settings.set(key, value, defaults)?,
            }
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &SettingValue, defaults: &Self) -> Result<(), Refusal> {
        let value = Given { key, value };
        match key {
            "policy" => self.policy = value.named(defaults.policy)?,
            "udp_policy" => self.udp_policy = value.named(defaults.udp_policy)?,
            "drain_s" => self.drain_s = value.small(DAY, defaults.drain_s)?,
            "allowed_cidrs" => self.allowed_cidrs = value.networks(&defaults.allowed_cidrs)?,
            "denied_cidrs" => self.denied_cidrs = value.networks(&defaults.denied_cidrs)?,
            "max_connections" => {
                self.max_connections =
                    value.small(u64::from(u32::MAX), defaults.max_connections)?;
            }
            "max_per_client" => {
                self.max_per_client = value.small(u64::from(u32::MAX), defaults.max_per_client)?;
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
            "client_ip" => self.client_ip = value.named(defaults.client_ip)?,
            "tls" => self.tls = value.parsed(&None)?.unwrap_or_else(|| defaults.tls.clone()),
            "health" => self.health = value.parsed(&defaults.health)?,
            "health_port" => {
                let port = value.small(u64::from(u16::MAX), defaults.health_port.into())?;
                self.health_port = u16::try_from(port).unwrap_or_default();
            }
            "health_status" => self.health_status = value.parsed(&defaults.health_status)?,
            "health_interval_s" => {
                self.health_interval_s = value.small(3_600, defaults.health_interval_s)?;
            }
            "health_timeout_s" => {
                self.health_timeout_s = value.small(20, defaults.health_timeout_s)?;
            }
            "health_rise" => self.health_rise = value.small(100, defaults.health_rise)?,
            "health_fall" => self.health_fall = value.small(100, defaults.health_fall)?,
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
            "max_per_client" => limit(self.max_per_client.into()),
            "new_per_second" => limit(self.new_per_second.into()),
            "packets_per_second" => limit(self.packets_per_second.into()),
            "bytes_per_second" => limit(self.bytes_per_second),
            "affinity_s" => limit(self.affinity_s.into()),
            "idle_timeout_s" => limit(self.idle_timeout_s.into()),
            "reply_cap_bytes" => limit(self.reply_cap_bytes.into()),
            "client_ip" => (self.client_ip != ClientIp::Snat).then(|| self.client_ip.to_string()),
            "tls" => (self.tls != Tls::ByName).then(|| self.tls.to_string()),
            "health" => self.health.as_ref().map(ToString::to_string),
            "health_port" => limit(self.health_port.into()),
            "health_status" => self.health_status.as_ref().map(ToString::to_string),
            "health_interval_s" => limit(self.health_interval_s.into()),
            "health_timeout_s" => limit(self.health_timeout_s.into()),
            "health_rise" => limit(self.health_rise.into()),
            "health_fall" => limit(self.health_fall.into()),
            _ => None,
        }
    }
}

/// What a record need not say.
fn is_by_name(tls: &Tls) -> bool {
    *tls == Tls::ByName
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
    use std::collections::BTreeMap;

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
            ("max_per_client", "64"),
            ("new_per_second", "10"),
            ("packets_per_second", "1000"),
            ("bytes_per_second", "5000000000"),
            ("affinity_s", "60"),
            ("idle_timeout_s", "600"),
            ("drain_s", "0"),
            ("reply_cap_bytes", "4096"),
            ("client_ip", "proxy-v2"),
            ("tls", "/a.crt,/a.key"),
            ("health", "http:/up"),
            ("health_port", "8081"),
            ("health_status", "200-299"),
            ("health_interval_s", "10"),
            ("health_timeout_s", "3"),
            ("health_rise", "1"),
            ("health_fall", "5"),
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
            ("client_ip", "proxy"),
            ("max_connections", "-1"),
            ("max_connections", "many"),
            ("drain_s", "86401"),
            ("new_per_second", "99999999999"),
            ("allowed_cidrs", "10.0.0.0/8,"),
            ("allowed_cidrs", "host"),
            ("tls", "yes"),
            ("tls", "a.crt,a.key"),
            ("health", "icmp"),
            ("health_port", "65536"),
            ("health_status", "2xx"),
            ("health_interval_s", "3601"),
            ("health_timeout_s", "21"),
            ("health_rise", "101"),
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
