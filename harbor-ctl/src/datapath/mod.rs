//! The only module that knows aya: loads, attaches and reads the kernel side.
//!
//! `program` loads, pins and attaches the object in this binary; `tables` reads and writes what the
//! reconciler plans; `flows` reads flows and ends them; `routes` follows the host's network and tells the
//! programs of it; `fragments` sends on datagrams that the programs leave to the stack; `heartbeat` is
//! the agent's word that it lives; `inspect` is what an operator sees without an agent.

mod clock;
mod devices;
mod error;
mod explain;
mod features;
mod flows;
mod former;
mod fragments;
mod generic_netlink;
mod heartbeat;
mod inspect;
mod interfaces;
mod program;
mod reserved_ports;
mod routes;

mod tables;
mod trace;

pub(crate) use clock::{is_ahead, since_boot, thread_time};
pub(crate) use devices::{Device, devices};
pub(crate) use explain::Explainer;
pub(crate) use features::{check_helpers, kernel, lacking_rights};
pub(crate) use flows::backend_failures::Sightings;
pub(crate) use flows::expiry::{Judgement, Sweep};
pub(crate) use flows::export::{FlowExport, adoption};
pub(crate) use flows::pressure::Pressure;
pub(crate) use flows::{FlowCursor, FlowTables, Pass};
pub(crate) use former::{FormerFlows, FormerKey, FormerPlace};
pub(crate) use fragments::relay::Carrier;
pub(crate) use heartbeat::Heart;
pub(crate) use inspect::{attached, detach, maps, status};
pub(crate) use interfaces::{Framing, Interface, Role, Snapshot};
pub(crate) use program::attach::{Attached, Hook};
pub(crate) use program::loaded::programs;
pub(crate) use program::object::Handover;
pub(crate) use program::pins::Pins;
pub(crate) use program::{Datapath, Options};
pub(crate) use reserved_ports::{add_reserved, local_range, release, reserve, reserved};
pub(crate) use routes::host::Host;
pub(crate) use routes::monitor::{HostChange, listen};
pub(crate) use tables::clients::{ClientLoad, ClientTable};
pub(crate) use tables::counters::{Counters, verdict_side};
pub(crate) use tables::dump::dump;
pub(crate) use tables::shares::ShareTable;

pub(crate) use program::xdp::InterfaceTable;
pub(crate) use routes::plan::KernelRoutes;
pub(crate) use routes::tables::RouteTables;
pub(crate) use tables::LiveTables;
pub(crate) use trace::{TraceLoad, TraceReader};

#[cfg(test)]
mod tests;

pub(crate) use error::{DatapathError, DatapathErrorKind};
