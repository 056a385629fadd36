//! Nodes that share a registry, and its contents as a document.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Pool, Protocol, Service};

/// One node.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeItem {
    pub(crate) id: String,
    /// `up`, `drained` or `away`.
    pub(crate) state: String,
    /// Whether it is the one that answers.
    pub(crate) this: bool,
    /// Ports that it serves.
    pub(crate) ports: usize,
    /// Milliseconds since it was heard; missing: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) seen_ms_ago: Option<u64>,
    pub(crate) version: String,
}

/// `POST /v1/nodes/attach`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AttachNode {
    /// `HOST`, `HOST:PORT` or the URL of a Redis.
    pub(crate) core: String,
    /// Takes the ports of the embedded registry along.
    #[serde(default)]
    pub(crate) import: bool,
}

/// `POST /v1/nodes/detach`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetachNode {
    /// Takes this node's ports along into the embedded registry.
    #[serde(default)]
    pub(crate) keep: bool,
}

/// What attaching or detaching has done; it is in force after a restart.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NodeMoved {
    /// What `registry.url` says now.
    pub(crate) url: String,
    #[schema(value_type = String)]
    pub(crate) file: PathBuf,
    /// Ports that were taken along.
    pub(crate) ports: usize,
}

/// `GET /v1/state`, and what `POST /v1/state/import` takes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct StateDocument {
    pub(crate) api_version: String,
    /// `State`
    pub(crate) kind: String,
    /// Seconds since 1970.
    pub(crate) exported_at: u64,
    pub(crate) services: Vec<Service>,
    /// Taken in where no pool of the name is known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) pools: Vec<Pool>,
    /// Not imported: rests are over when they are over.
    #[serde(default)]
    pub(crate) resting: Vec<RestingItem>,
}

/// One half of a number that rests.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestingItem {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    /// Seconds since 1970.
    pub(crate) until: u64,
}

/// How many services an import has brought, or a confirmation has removed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ServiceCount {
    pub(crate) services: usize,
    /// After an import: what is served and still is not in the registry, or not in the document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) missing: Vec<String>,
}

/// `GET /v1/state/check`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StateCheck {
    /// `ok` or `degraded`.
    pub(crate) state: String,
    /// What was compared.
    pub(crate) services: usize,
    /// One line each: what differs between registry, journal and kernel.
    pub(crate) differences: Vec<String>,
}

/// `POST /v1/state/backup`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BackupItem {
    #[schema(value_type = String)]
    pub(crate) file: PathBuf,
    pub(crate) bytes: u64,
}
