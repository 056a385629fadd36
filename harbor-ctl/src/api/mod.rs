//! What travels over the control socket: the same types on both ends.
//!
//! Names of fields are a contract with scripts: add, never rename. Requests refuse unknown fields.

mod bindings;
mod cluster;
mod discovery;
mod explain;
mod pools;
mod requests;
mod status;
mod trace;

pub(crate) use bindings::*;
pub(crate) use cluster::*;
pub(crate) use discovery::*;
pub(crate) use explain::*;
pub(crate) use pools::*;
pub(crate) use requests::*;
pub(crate) use status::*;
pub(crate) use trace::*;

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};
use utoipa::{
    ToSchema,
    openapi::{
        Object, ObjectBuilder,
        schema::{SchemaType, Type},
    },
};

use crate::model::{
    BackendState, Failing, FlowRecord, Policy, PortSettings, PortState, Protocol, Refusal,
    RefusalKind,
};

/// The version of the API.
pub(crate) const API_VERSION: &str = "v1";

/// A page of things.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct List<T> {
    pub(crate) api_version: String,
    pub(crate) kind: String,
    pub(crate) items: Vec<T>,
    /// Give it back as `continue` for the next page; missing on the last one.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// What the list does not show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) warning: Option<String>,
}

impl<T> List<T> {
    pub(crate) fn of(kind: &str, items: Vec<T>) -> Self {
        Self {
            api_version: API_VERSION.into(),
            kind: kind.into(),
            items,
            next: None,
            warning: None,
        }
    }
}

/// The one error shape.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ErrorBody {
    #[schema(schema_with = kinds)]
    pub(crate) error: String,
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fix: Option<String>,
    /// With the field `epoch`: one that would be taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u64>,
}

fn kinds() -> Object {
    let names = RefusalKind::ALL.map(RefusalKind::name);
    let text = SchemaType::Type(Type::String);
    let object = ObjectBuilder::new().schema_type(text);
    object.enum_values(Some(names)).build()
}

impl From<Refusal> for ErrorBody {
    fn from(refusal: Refusal) -> Self {
        let Refusal {
            kind,
            description,
            field,
            fix,
            epoch,
        } = refusal;
        Self {
            error: kind.name().into(),
            description,
            field,
            fix,
            epoch,
        }
    }
}

impl From<ErrorBody> for Refusal {
    fn from(body: ErrorBody) -> Self {
        let ErrorBody {
            error,
            description,
            field,
            fix,
            epoch,
        } = body;
        Self {
            kind: RefusalKind::from_name(&error),
            description,
            field,
            fix,
            epoch,
        }
    }
}

/// `GET /v1/flows/count`
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FlowCount {
    pub(crate) flows: u64,
}

/// What was ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct KilledFlows {
    pub(crate) flows: u64,
}

/// Backends of a port, counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct BackendCount {
    /// `null` of a port that another node serves: who takes new flows is not known here.
    pub(crate) up: Option<usize>,
    pub(crate) total: usize,
}

/// One port.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PortItem {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) state: PortState,
    /// Why it is not up, or not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// `tc`, `xdp` or `proxy`: who serves clients from the wire, with `+proxy(route)` where that is not so
    /// of all of them; `-` while nobody does, `?` while that is not known.
    pub(crate) path: String,
    /// Why the proxy serves some of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_reason: Option<String>,
    pub(crate) backends: BackendCount,
    /// `null`, as are rates, while it is not known: `unknown` says why.
    pub(crate) flows: Option<u64>,
    /// Bits per second, both directions, over the last second or so.
    pub(crate) rate_bps: Option<u64>,
    /// From clients.
    pub(crate) rate_in_bps: Option<u64>,
    /// To clients.
    pub(crate) rate_out_bps: Option<u64>,
    /// Why nobody here knows what the port carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unknown: Option<String>,
    pub(crate) policy: Policy,
    pub(crate) udp_policy: Policy,
    pub(crate) drain_s: u32,
    /// Every setting, with the names that `ports set` knows.
    pub(crate) settings: PortSettings,
    /// The node that serves it; empty in a registry of one node's own.
    #[serde(default)]
    pub(crate) node: String,
    /// The pool whose nodes all serve it; empty: `node` alone does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) pool: String,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) age_s: u64,
    /// Seconds until it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires_in_s: Option<u64>,
    /// Of a port on which Harbor ends TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<CertificateItem>,
    /// Where clients reach it, for each protocol the same: `HOST:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) public: Option<String>,
    /// Of a port that a platform has provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) space: Option<String>,
    /// Apps that it is bound to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) apps: Vec<String>,
    /// Which of the limits that hold for it are reached, or nearly so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) full: Vec<String>,
    pub(crate) counters: Vec<PortCounters>,
}

/// The certificates with which a port ends TLS.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CertificateItem {
    /// DNS names of those in force.
    pub(crate) names: Vec<String>,
    /// When the first of them ends, in seconds since 1970; none while none is in force.
    pub(crate) expires_at: Option<u64>,
    /// Why those that should be in force are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// What one protocol of a port carried since the kernel's slot was taken.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PortCounters {
    pub(crate) protocol: Protocol,
    pub(crate) flows: u64,
    pub(crate) flows_total: u64,
    pub(crate) forward_packets: u64,
    pub(crate) forward_bytes: u64,
    pub(crate) reply_packets: u64,
    pub(crate) reply_bytes: u64,
    /// Flows that a limit, a list of networks or a full table refused.
    pub(crate) refused: u64,
}

/// What a deletion took away.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct DeletedPort {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) protocols: Vec<Protocol>,
    /// Set while the kernel still forwards it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// One backend of one port.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BackendItem {
    pub(crate) port: u16,
    pub(crate) service: String,
    pub(crate) instance: String,
    #[schema(value_type = String)]
    pub(crate) address: SocketAddr,
    /// `up`, `suspect`, `ejected`, `unreachable`, `failing`, `draining`, `leaving`,
    /// `removed`, or `unknown` of one that another node serves.
    pub(crate) state: String,
    /// Why it is failing, suspect, ejected, unreachable or unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Who sends clients there: `tc`, `proxy` or `proxy(route)`.
    #[serde(default)]
    pub(crate) path: String,
    /// Why the programs in the kernel do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path_reason: Option<String>,
    /// Seconds until a leaving backend is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) leaves_in_s: Option<u64>,
    /// The app host that announced it; none for backends added by hand.
    pub(crate) dea: Option<String>,
    pub(crate) weight: u8,
    /// Flows now; the totals are of all flows since the backend was added. `null` while they are not known.
    pub(crate) flows: Option<u64>,
    pub(crate) flows_total: Option<u64>,
    pub(crate) forward_packets: Option<u64>,
    pub(crate) forward_bytes: Option<u64>,
    pub(crate) reply_packets: Option<u64>,
    pub(crate) reply_bytes: Option<u64>,
    pub(crate) registered_at: u64,
}

/// What one backend answered when it was asked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct CheckItem {
    pub(crate) port: u16,
    pub(crate) service: String,
    pub(crate) instance: String,
    #[schema(value_type = String)]
    pub(crate) address: SocketAddr,
    /// As `ports set health=` takes it.
    pub(crate) check: String,
    /// `pass` or `fail`.
    pub(crate) result: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    pub(crate) took_ms: u64,
}

/// A service as the registry keeps it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ServiceItem {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) policy: Policy,
    pub(crate) udp_policy: Policy,
    pub(crate) drain_s: u32,
    pub(crate) settings: PortSettings,
    pub(crate) draining: bool,
    /// The node that serves it; empty in a registry of one node's own.
    #[serde(default)]
    pub(crate) node: String,
    pub(crate) created_at: u64,
    pub(crate) instances: Vec<InstanceItem>,
}

/// A backend as the registry keeps it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct InstanceItem {
    pub(crate) instance: String,
    #[schema(value_type = String)]
    pub(crate) address: SocketAddr,
    pub(crate) weight: u8,
    #[serde(flatten)]
    pub(crate) state: BackendState,
    /// Its probes fail, since then and because of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failing: Option<Failing>,
    pub(crate) registered_at: u64,
}

/// One flow, with the service it belongs to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FlowItem {
    pub(crate) port: u16,
    pub(crate) service: Option<String>,
    #[serde(flatten)]
    pub(crate) flow: FlowRecord,
}

/// `GET /v1/range`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangeReport {
    pub(crate) range: String,
    pub(crate) numbers: usize,
    pub(crate) tcp: RangeCounts,
    pub(crate) udp: RangeCounts,
    /// Valid ports that the range no longer holds.
    pub(crate) outside: Vec<NamedPort>,
    /// Numbers that somebody else holds.
    pub(crate) held: Vec<HeldPort>,
}

/// Numbers of the range, by why they are not free.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RangeCounts {
    pub(crate) free: usize,
    pub(crate) assigned: usize,
    pub(crate) resting: usize,
    pub(crate) held: usize,
}

/// A port and its service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct NamedPort {
    pub(crate) port: u16,
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) name: String,
}

/// A number that somebody else holds.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HeldPort {
    pub(crate) port: u16,
    pub(crate) protocol: Protocol,
    pub(crate) holder: String,
}

/// What a changed value did.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConfigChange {
    pub(crate) key: String,
    pub(crate) value: String,
    #[schema(value_type = String)]
    pub(crate) file: PathBuf,
    /// `at-once` or `restart`.
    pub(crate) applies: String,
    /// After a new range: ports that stay valid outside it.
    pub(crate) outside: Vec<NamedPort>,
}
