//! Pools: nodes that have the same ports, and the shares of addresses that move between them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/pools`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePool {
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub(crate) name: String,
    /// What clients are told to connect to.
    #[serde(default)]
    pub(crate) hostname: String,
}

/// `POST /v1/pools/{name}/shares`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddShare {
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub(crate) id: String,
    /// Clients connect to them.
    #[schema(value_type = Vec<String>)]
    pub(crate) public: Vec<IpAddr>,
    /// Backends see them.
    #[schema(value_type = Vec<String>)]
    pub(crate) translation: Vec<IpAddr>,
    /// In the order in which they take it over.
    pub(crate) nodes: Vec<String>,
}

/// `POST /v1/shares/{id}/move`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveShare {
    /// The node that is to have it; empty: the first that is ready.
    pub(crate) to: String,
}

/// `POST /v1/pools/{name}/members`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinPool {
    /// The node that joins; missing: the one that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) node: Option<String>,
}

/// One pool.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PoolItem {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    /// `ok`, or `degraded`: a share has a problem.
    pub(crate) state: String,
    /// Ports that it has.
    pub(crate) ports: usize,
    /// Nodes that have its ports.
    pub(crate) nodes: Vec<String>,
    /// The node that does for it what has to be done once, if it is this one.
    pub(crate) kept_here: bool,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) shares: Vec<ShareItem>,
}

/// One share.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ShareItem {
    pub(crate) id: String,
    #[schema(value_type = Vec<String>)]
    pub(crate) public: Vec<IpAddr>,
    #[schema(value_type = Vec<String>)]
    pub(crate) translation: Vec<IpAddr>,
    pub(crate) nodes: Vec<String>,
    /// Nodes that have its addresses now, as far as they say so.
    pub(crate) holders: Vec<String>,
    /// Nodes that could take it over now.
    pub(crate) ready: Vec<String>,
    /// Where it is to be, whatever the order says; empty: anywhere.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) moved_to: String,
    /// What the node that is asked tells the others of its flows, and hears; empty: flows are not copied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) copies: Vec<CopyItem>,
    /// Whether the node that is asked has it.
    pub(crate) here: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// Copies of flows between the node that is asked and another one.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CopyItem {
    pub(crate) node: String,
    /// The other one has everything that there was when the connection began.
    pub(crate) full: bool,
    /// Flows that it was told, each as often as it was.
    pub(crate) sent: u64,
    /// Milliseconds from when flows were read here until they were entered there, the last time.
    pub(crate) lag_ms: u64,
    /// Flows that it has told, and those of them that had no room, port or backend here.
    pub(crate) received: u64,
    pub(crate) refused: u64,
    /// Since it was heard; missing: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) heard_ms_ago: Option<u64>,
    /// Why it is told nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// `GET /v1/shares/{id}/ready`: whether the node that is asked may have the share.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ShareReady {
    pub(crate) id: String,
    pub(crate) ready: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// `GET /v1/pools/{name}/engine/{engine}`: a configuration for what moves addresses.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct EngineText {
    pub(crate) text: String,
}
