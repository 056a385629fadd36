//! Nodes that share a registry.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// One node, as the registry knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NodeRecord {
    /// `[node].id`
    pub(crate) id: String,
    /// The version of the agent that joined last.
    pub(crate) version: String,
    /// Milliseconds since it was heard, by the registry's clock; `None`: never.
    pub(crate) seen_ms_ago: Option<u64>,
    /// Its own addresses, as it said when it joined.
    #[serde(default)]
    pub(crate) addresses: Vec<IpAddr>,
    /// Where it hears of other nodes' flows.
    #[serde(default)]
    pub(crate) sync: Option<SocketAddr>,
    /// It takes no new ports.
    pub(crate) drained: bool,
}

/// A node that was not heard for so long counts as away.
pub(crate) const NODE_AWAY_MS: u64 = 5_000;

impl NodeRecord {
    /// `up`, `drained` or `away`.
    pub(crate) fn state(&self) -> &'static str {
        match (self.seen_ms_ago, self.drained) {
            (None, _) => "away",
            (Some(ago), _) if ago > NODE_AWAY_MS => "away",
            (_, true) => "drained",
            (_, false) => "up",
        }
    }
}
