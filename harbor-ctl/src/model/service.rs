//! Services and their backends, as the registry keeps them.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use super::{Protocol, Protocols};

/// What a user created: a public port and the instances behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// A UUID; unique for ever.
    pub(crate) id: String,
    /// `[A-Za-z0-9_.-]{1,64}`, unique on the command line.
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) protocols: Protocols,
    /// How new TCP connections find their backend.
    pub(crate) tcp_policy: Policy,
    /// How new UDP flows find their backend.
    pub(crate) udp_policy: Policy,
    /// Seconds that a removed backend keeps its flows.
    pub(crate) drain_seconds: u32,
    /// Takes no new flows while true; set by `ports drain`.
    pub(crate) draining: bool,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// In order of first registration: the first is UDP's primary.
    pub(crate) backends: Vec<Backend>,
}

impl Service {
    pub(crate) fn policy(&self, protocol: Protocol) -> Policy {
        match protocol {
            Protocol::Tcp => self.tcp_policy,
            Protocol::Udp => self.udp_policy,
        }
    }
}

/// How a new flow finds its backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    RoundRobin,
    First,
}

/// One app instance's endpoint behind a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backend {
    /// Names the instance within its service.
    pub(crate) instance: String,
    pub(crate) address: SocketAddrV4,
    pub(crate) state: BackendState,
    /// Seconds since 1970.
    pub(crate) registered_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "state")]
pub(crate) enum BackendState {
    /// Takes new flows.
    Active,
    /// Keeps its flows, takes no new ones, stays registered until removed.
    Draining,
    /// Removed: keeps its flows until this moment (seconds since 1970), then it is gone.
    Leaving { until: u64 },
}

impl BackendState {
    pub(crate) fn takes_new_flows(self) -> bool {
        self == Self::Active
    }
}
