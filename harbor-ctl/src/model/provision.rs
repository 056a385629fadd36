//! What a platform asked for, and what it was promised: the part of a service's record that belongs
//! to the gateway.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    protocol::Protocols,
    refusal::{Refusal, RefusalKind},
    service::Service,
    setting_value::SettingValues,
};

/// The number that an app's first binding says to listen on.
pub(crate) const FIRST_INT_PORT: u16 = 4_100;
/// The most bindings of one instance.
pub(crate) const BINDING_LIMIT: usize = 128;
/// The longest foreign word (an app, an organization), in bytes.
const WORD_LIMIT: usize = 256;

/// What may be chosen from the catalog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Plan {
    /// The instance's name decides the protocol.
    Free,
    Tcp,
    Udp,
    Both,
    /// TCP with TLS ended by Harbor.
    Https,
}

impl Plan {
    pub(crate) const ALL: [Self; 5] = [Self::Free, Self::Tcp, Self::Udp, Self::Both, Self::Https];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Both => "both",
            Self::Https => "https",
        }
    }

    /// The protocols of an instance with this name.
    pub(crate) fn protocols(self, name: &str) -> Protocols {
        match self {
            Self::Free => Protocols::from_service_name(name),
            Self::Tcp | Self::Https => Protocols::Tcp,
            Self::Udp => Protocols::Udp,
            Self::Both => Protocols::Both,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Plan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|plan| plan.name() == text);
        found.ok_or_else(|| format!("no plan {text:?}"))
    }
}

/// What a platform said when it provisioned the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Provisioned {
    pub(crate) plan: Plan,
    pub(crate) organization: String,
    pub(crate) space: String,
    /// `cloudfoundry`, `kubernetes`; empty: it did not say.
    #[serde(default)]
    pub(crate) platform: String,
    /// The instance's name as it was given; the service's own is what the rule for names left of it.
    #[serde(default)]
    pub(crate) name: String,
    /// Parameters of the first request: one that repeats it says the same.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) asked: SettingValues,
    /// Parameters as they are after every update.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(crate) parameters: SettingValues,
    /// Where the serving node said that it is; nodes that share the registry repeat it.
    #[serde(default)]
    pub(crate) place: Place,
}

impl Provisioned {
    /// Whether another request asks for the same.
    pub(crate) fn is_asked_by(&self, other: &Self) -> bool {
        self.plan == other.plan
            && self.organization == other.organization
            && self.space == other.space
            && self.asked == other.asked
    }
}

/// Where a port is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Place {
    /// The node's own name.
    pub(crate) hostname: String,
    /// The node's own address.
    pub(crate) host: String,
    /// `[public]`, as far as it is configured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ext_hostname: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ext_host: Option<String>,
}

impl Place {
    /// Where clients go: the public name, else the public address, else the node's own.
    pub(crate) fn reached_at(&self) -> &str {
        let public = self.ext_hostname.as_deref().or(self.ext_host.as_deref());
        public.unwrap_or(&self.host)
    }
}

/// An app, or whoever has a key, that was told the credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Binding {
    pub(crate) id: String,
    /// `None`: a key that belongs to no app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    /// What the app listens on.
    pub(crate) int_port: u16,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
}

/// What an app is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Credentials {
    #[serde(flatten)]
    pub(crate) place: Place,
    pub(crate) port: u16,
    pub(crate) name: String,
    /// By which app hosts announce: it alone is nobody else's.
    pub(crate) id: String,
    pub(crate) node_id: String,
    pub(crate) int_port: u16,
    /// `tcp`, `udp` or `tcp+udp`.
    pub(crate) protocol: String,
    pub(crate) uri: String,
}

impl Credentials {
    pub(crate) fn of(service: &Service, binding: &Binding, (place, node): (Place, &str)) -> Self {
        let host = match place.reached_at() {
            v6 if v6.contains(':') => format!("[{v6}]"),
            host => host.to_owned(),
        };
        let scheme = service.protocols.each()[0];
        let given = service.provisioned.as_ref().map(|p| p.name.clone());
        Self {
            uri: format!("{scheme}://{host}:{}", service.port),
            place,
            port: service.port,
            name: given.unwrap_or_else(|| service.name.clone()),
            id: service.id.clone(),
            node_id: node.to_owned(),
            int_port: binding.int_port,
            protocol: service.protocols.to_string(),
        }
    }
}

/// The lowest number, from 4100, that none of these bindings has for the app.
pub(crate) fn next_int_port<'a>(
    bindings: impl IntoIterator<Item = &'a Binding>,
    app: Option<&str>,
) -> Option<u16> {
    let Some(app) = app else {
        return Some(FIRST_INT_PORT);
    };
    let bindings = bindings.into_iter();
    let own = bindings.filter(|binding| binding.app.as_deref() == Some(app));
    let taken: std::collections::BTreeSet<u16> = own.map(|binding| binding.int_port).collect();
    (FIRST_INT_PORT..=u16::MAX).find(|port| !taken.contains(port))
}

/// What the rule for names leaves of a platform's name: other characters become `-`.
pub(crate) fn name_from(given: &str, id: &str) -> String {
    let own = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => c,
        _ => '-',
    };
    let name: String = given.chars().map(own).take(super::NAME_LIMIT).collect();
    match name.is_empty() {
        true => format!("harbor-{id}")
            .chars()
            .take(super::NAME_LIMIT)
            .collect(),
        false => name,
    }
}

/// Refuses a foreign word that is empty, too long, or not one line.
pub(crate) fn check_word(field: &str, word: &str) -> Result<(), Refusal> {
    let wrong = |text: &str| {
        Err(Refusal::new(RefusalKind::Invalid, format!("{field} {text}")).field(field))
    };
    match word {
        "" => wrong("is empty"),
        word if word.len() > WORD_LIMIT => wrong("is longer than 256 bytes"),
        word if word.chars().any(char::is_control) => wrong("holds a control character"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::service;

    fn binding(app: &str, int_port: u16) -> Binding {
        Binding {
            id: format!("b{int_port}"),
            app: Some(app.into()),
            int_port,
            created_at: 1,
        }
    }

    #[test]
    fn numbers_to_listen_on_are_counted_for_each_app() {
        let all = [
            binding("a", 4_100),
            binding("b", 4_100),
            binding("a", 4_102),
        ];
        assert_eq!(next_int_port(&all, Some("a")), Some(4_101));
        assert_eq!(next_int_port(&all, Some("b")), Some(4_101));
        assert_eq!(next_int_port(&all, Some("c")), Some(4_100));
        assert_eq!(next_int_port(&all, None), Some(4_100));
    }

    #[test]
    fn the_name_decides_the_protocol_of_plan_free_alone() {
        assert_eq!(Plan::Free.protocols("udp-game"), Protocols::Udp);
        assert_eq!(Plan::Free.protocols("both-sip"), Protocols::Both);
        assert_eq!(Plan::Tcp.protocols("udp-game"), Protocols::Tcp);
        for plan in Plan::ALL {
            assert_eq!(plan.name().parse(), Ok(plan));
        }
    }

    #[test]
    fn any_name_of_a_platform_becomes_one_of_ours() {
        for (given, expected) in [
            ("my db", "my-db"),
            ("", "harbor-i"),
            ("é\u{1b}[31m", "---31m"),
        ] {
            let name = name_from(given, "i");
            assert_eq!(name, expected);
            crate::model::check_name("name", &name).unwrap();
        }
        assert_eq!(name_from(&"x".repeat(300), "i").len(), 64);
    }

    #[test]
    fn the_uri_is_public_where_there_is_public_access() {
        let web = service("web", 35_000, Protocols::Both);
        let mut place = Place {
            hostname: "n1".into(),
            host: "2001:db8::1".into(),
            ..Place::default()
        };
        let binding = binding("a", 4_100);
        let told = Credentials::of(&web, &binding, (place.clone(), "node"));
        assert_eq!(told.uri, "tcp://[2001:db8::1]:35000");
        let json = serde_json::to_value(&told).unwrap();
        assert!(json.get("ext_host").is_none() && json["int_port"] == 4_100);
        place.ext_hostname = Some("ports.example.com".into());
        let told = Credentials::of(&web, &binding, (place, "node"));
        assert_eq!(told.uri, "tcp://ports.example.com:35000");
    }
}
