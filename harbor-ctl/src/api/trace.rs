//! `POST /v1/trace`.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which packets to follow.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TracePackets {
    /// Those of this port, both ways: a number, NUMBER/PROTOCOL, a name or an id; missing: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<String>,
    /// Those that come from this client, or leave for it: IP or IP:PORT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// Those with this verdict: `forward`, `pass`, `drop`, or a verdict's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verdict: Option<String>,
    /// At most so many packets a second of each processor; the others are counted. Missing: 10,000.
    #[schema(value_type = Option<u32>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_second: Option<NonZeroU32>,
    /// One packet in so many, chosen at random; missing: every packet.
    #[schema(value_type = Option<u32>, minimum = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) one_in: Option<NonZeroU32>,
}
