//! Flows as they are shown to people and tools.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::protocol::Protocol;

/// One client's conversation with one backend, both directions together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct FlowRecord {
    pub(crate) protocol: Protocol,
    #[schema(value_type = String)]
    pub(crate) client: SocketAddr,
    /// The public address and port that the client dialled.
    #[schema(value_type = String)]
    pub(crate) frontend: SocketAddr,
    /// The node's address and source port that the backend sees.
    #[schema(value_type = String)]
    pub(crate) source: SocketAddr,
    #[schema(value_type = String)]
    pub(crate) backend: SocketAddr,
    /// `opening`, `live`, `closed`.
    pub(crate) state: String,
    pub(crate) idle_seconds: u64,
    pub(crate) forward_packets: u64,
    pub(crate) forward_bytes: u64,
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
}

/// Between whom a flow is: what flows are chosen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlowEnds {
    pub(crate) protocol: Protocol,
    pub(crate) client: SocketAddr,
    pub(crate) frontend: SocketAddr,
    pub(crate) backend: SocketAddr,
}

impl FlowRecord {
    pub(crate) fn ends(&self) -> FlowEnds {
        FlowEnds {
            protocol: self.protocol,
            client: self.client,
            frontend: self.frontend,
            backend: self.backend,
        }
    }
}
