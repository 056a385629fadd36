//! What `status` says: every part, its state, what is wrong and what to do.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::DatapathReport;

/// One part of the status.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PartStatus {
    /// `ok`, `degraded` or `down`.
    pub(crate) state: String,
    pub(crate) text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
}

/// `GET /v1/status`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StatusReport {
    pub(crate) api_version: String,
    pub(crate) version: String,
    pub(crate) pid: u32,
    pub(crate) uptime_s: u64,
    #[schema(value_type = String)]
    pub(crate) config: PathBuf,
    pub(crate) agent: PartStatus,
    pub(crate) datapath: PartStatus,
    pub(crate) proxy: PartStatus,
    pub(crate) ports: PartStatus,
    pub(crate) health: PartStatus,
    pub(crate) registry: PartStatus,
    /// The flow table.
    pub(crate) flows: PartStatus,
    /// Of ports that end TLS.
    pub(crate) certificates: PartStatus,
    /// App hosts and their leases.
    pub(crate) discovery: PartStatus,
    /// Those that share the registry.
    pub(crate) nodes: PartStatus,
    /// Pools of nodes, and the shares of addresses that move between them.
    pub(crate) pools: PartStatus,
    /// The control API by TCP.
    pub(crate) control: PartStatus,
    /// The platform API.
    pub(crate) gateway: PartStatus,
    /// The listener of metrics.
    pub(crate) metrics: PartStatus,
    /// The management console.
    pub(crate) console: PartStatus,
    pub(crate) configuration: PartStatus,
    pub(crate) events: PartStatus,
    /// The worst of the parts.
    pub(crate) overall: String,
    /// Ports by state.
    pub(crate) port_states: BTreeMap<String, usize>,
    /// What the datapath says itself, when it runs.
    pub(crate) datapath_report: Option<DatapathReport>,
}

impl StatusReport {
    /// Every part by the name that people see, in the order in which they are shown.
    pub(crate) fn parts(&self) -> [(&'static str, &PartStatus); 17] {
        [
            ("Agent", &self.agent),
            ("Config", &self.configuration),
            ("Datapath", &self.datapath),
            ("Proxy", &self.proxy),
            ("Ports", &self.ports),
            ("Flows", &self.flows),
            ("Tls", &self.certificates),
            ("Health", &self.health),
            ("Discovery", &self.discovery),
            ("Registry", &self.registry),
            ("Nodes", &self.nodes),
            ("Pools", &self.pools),
            ("Control", &self.control),
            ("Gateway", &self.gateway),
            ("Metrics", &self.metrics),
            ("Console", &self.console),
            ("Events", &self.events),
        ]
    }
}
