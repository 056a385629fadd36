//! Services and their backends, as the registry keeps them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    client_ip::ClientIp,
    policy::Policy,
    pool::Pools,
    protocol::{Protocol, Protocols},
    provision::{Binding, Provisioned},
    refusal::Refusal,
    settings::PortSettings,
    tls::Tls,
};

/// What a user created: a public port and the instances behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Service {
    /// A UUID; unique for ever.
    pub(crate) id: String,
    /// `[A-Za-z0-9_.-]{1,64}`, unique on the command line.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocols: Protocols,
    /// Side by side with the other fields in a record; missing ones have their defaults.
    #[serde(flatten)]
    pub(crate) settings: PortSettings,
    /// Takes no new flows while true; set by `ports drain`.
    pub(crate) draining: bool,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// The node that serves it; empty in a registry of one node's own.
    #[serde(default)]
    pub(crate) node: String,
    /// The pool whose nodes all serve it; empty: `node` alone does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) pool: String,
    /// Counts the changes of this record: a writer who did not see the latest is refused.
    #[serde(default)]
    pub(crate) revision: u64,
    /// In order of first registration: the first is UDP's primary.
    pub(crate) backends: Vec<Backend>,
    /// A platform asked for it; `None`: an operator did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) provisioned: Option<Provisioned>,
    /// Who was told the credentials; of a provisioned service alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) bindings: Vec<Binding>,
    /// When it ends by itself, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_at: Option<u64>,
}

impl Service {
    /// Whether this node has it: by itself, or as one of its pool.
    pub(crate) fn is_of(&self, node: &str, pools: &Pools) -> bool {
        match pools.get(&self.pool) {
            Some(pool) => pool.has_member(node),
            None => self.node == node,
        }
    }

    pub(crate) fn policy(&self, protocol: Protocol) -> Policy {
        match protocol {
            Protocol::Tcp => self.settings.policy,
            Protocol::Udp => self.settings.udp_policy,
        }
    }

    /// Whether Harbor itself ends the TLS of its connections.
    pub(crate) fn ends_tls(&self) -> bool {
        let wants = match self.settings.tls {
            Tls::Off => false,
            Tls::ByName => self.name.ends_with("https"),
            Tls::On | Tls::Files(_) => true,
        };
        wants && self.protocols.contains(Protocol::Tcp)
    }

    /// Whether the programs in the kernel cannot serve this half of it as its settings want.
    pub(crate) fn needs_proxy(&self, protocol: Protocol) -> bool {
        let is_told = self.settings.client_ip != ClientIp::Snat;
        let is_opened = protocol == Protocol::Tcp && self.ends_tls();
        self.protocols.contains(protocol) && (is_told || is_opened)
    }

    /// Refuses settings that do not fit each other or the port.
    pub(crate) fn check_settings(&self) -> Result<(), Refusal> {
        self.check_health()?;
        self.check_client_ip()?;
        let wants_tls = matches!(self.settings.tls, Tls::On | Tls::Files(_));
        if wants_tls && !self.protocols.contains(Protocol::Tcp) {
            let text = format!("tls: port {} serves {} only", self.name, self.protocols);
            return Err(Refusal::invalid("tls", text).fix("tls=none"));
        }
        Ok(())
    }
}

/// One app instance's endpoint behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Backend {
    /// Names the instance within its service.
    pub(crate) instance: String,
    #[schema(value_type = String)]
    pub(crate) address: SocketAddr,
    /// Its share of new flows, 1 to 100.
    #[serde(default = "one")]
    pub(crate) weight: u8,
    pub(crate) state: BackendState,
    /// Seconds since 1970.
    pub(crate) registered_at: u64,
    /// Who announced it; `None` for a backend that an operator added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) announced: Option<Box<Announced>>,
    /// Its probes fail, since then and because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing: Option<Box<Failing>>,
}

impl Backend {
    /// Whether it lives by that app host's lease.
    pub(crate) fn is_announced_by(&self, dea: &str) -> bool {
        self.announced.as_ref().is_some_and(|said| said.dea == dea)
    }

    /// Whether it has left and its flows had their time.
    pub(crate) fn is_over(&self, now: u64) -> bool {
        matches!(self.state, BackendState::Leaving { until } if until <= now)
    }

    /// Whether new flows may go to it, as far as the registry knows.
    pub(crate) fn takes_new_flows(&self) -> bool {
        self.state == BackendState::Active && self.failing.is_none()
    }
}

/// What an app host says of an instance besides its address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Announced {
    /// The app host, by whose lease the backend lives.
    pub(crate) dea: String,
    /// How the app host calls the service.
    pub(crate) service: String,
    /// What it said of the instance last; an operator may have decided otherwise.
    pub(crate) said: Readiness,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u32>,
}

/// What an instance is ready for, in the words of its app host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Readiness {
    /// New flows.
    Up,
    /// The flows that it has.
    Draining,
    /// Nothing: it is withdrawn.
    Down,
}

impl Readiness {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Draining => "draining",
            Self::Down => "down",
        }
    }
}

/// Why and since when a backend is left out of new flows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Failing {
    /// Seconds since 1970.
    pub(crate) since: u64,
    /// One line.
    pub(crate) reason: String,
}

fn one() -> u8 {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", tag = "state")]
pub(crate) enum BackendState {
    /// Takes new flows.
    Active,
    /// Keeps its flows, takes no new ones, stays registered until removed.
    Draining,
    /// Removed: keeps its flows until this moment (seconds since 1970), then it is gone.
    Leaving { until: u64 },
    /// Gone by an operator's word, while its app host still announces it: it stays out until the app
    /// host withdraws it or falls silent.
    Removed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_without_settings_weights_and_ipv6_still_loads() {
        let record = r#"{
            "id": "u", "name": "web", "port": 35000, "protocols": "tcp",
            "tcp_policy": "first", "udp_policy": "round-robin", "drain_seconds": 7,
            "draining": false, "created_at": 5,
            "backends": [{"instance": "a", "address": "10.0.0.1:80",
                          "state": {"state": "leaving", "until": 9}, "registered_at": 1}]
        }"#;
        let service: Service = serde_json::from_str(record).unwrap();
        let expected = PortSettings {
            policy: Policy::First,
            udp_policy: Policy::RoundRobin,
            drain_s: 7,
            ..PortSettings::default()
        };
        assert_eq!(service.settings, expected);
        assert_eq!(service.backends[0].weight, 1);
        let again = serde_json::to_vec(&service).unwrap();
        assert_eq!(serde_json::from_slice::<Service>(&again).unwrap(), service);
    }
}
