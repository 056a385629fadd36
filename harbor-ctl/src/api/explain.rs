//! The answer to `POST /v1/explain`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::NamedPort;

/// What would become of the packet.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ExplainReport {
    pub(crate) packet: String,
    /// `forward`, `pass` or `drop`.
    pub(crate) verdict: String,
    pub(crate) name: String,
    pub(crate) meaning: String,
    /// What was done, in order.
    pub(crate) stages: Vec<Stage>,
    /// The port that it is for.
    pub(crate) port: Option<NamedPort>,
    pub(crate) backend: Option<ExplainedBackend>,
    /// How the backend was selected.
    pub(crate) policy: Option<String>,
    /// By which it would leave.
    pub(crate) interface: Option<String>,
    /// One sentence each.
    pub(crate) why: Vec<String>,
}

/// One stage of the packet path.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Stage {
    pub(crate) stage: String,
    pub(crate) text: String,
}

/// The backend that a packet would go to, or belongs to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ExplainedBackend {
    /// None for one that is registered no more.
    pub(crate) instance: Option<String>,
    #[schema(value_type = String)]
    pub(crate) address: SocketAddr,
    /// `active`, `suspect`, `ejected`, `draining`, `unhealthy` or `gone`.
    pub(crate) state: String,
}
