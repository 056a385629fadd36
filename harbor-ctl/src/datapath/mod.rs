//! The only module that knows aya: loads, attaches and reads the kernel side.
//!
//! `object` is the program in this binary, `pins` where its maps and links live, `attach` how it
//! gets onto interfaces, `tables` how they are written, `flows` how flows are read and ended,
//! `carrier` what the agent carries for the programs and `post` with which sockets,
//! `control` the agent's word that it lives, `host` what the machine's own network looks like and
//! `events` that it changes, `ways` what the datapath is told of it, `inspect` what an operator sees
//! without an agent.

mod attach;
mod batch;
mod carrier;
mod clients;
mod clock;
mod control;
mod devices;
mod effective;
mod elements;
mod events;
mod explain;
mod features;
mod flows;
mod generic_netlink;
mod host;
mod inspect;
mod interfaces;
mod judgement;
mod kernel_ways;
mod object;
mod pins;
mod post;
mod pressure;
mod program;
mod programs;
mod reserved;
mod sightings;
mod stats;

mod tables;
mod views;
mod way_tables;
mod ways;
mod xdp;

pub(crate) use attach::Hook;
pub(crate) use carrier::Carrier;
pub(crate) use clients::{ClientLoad, ClientTable};
pub(crate) use clock::{is_ahead, since_boot, thread_time};
pub(crate) use control::Heart;
pub(crate) use devices::{Device, devices};
pub(crate) use elements::dump;
pub(crate) use events::{HostChange, listen};
pub(crate) use explain::Explainer;
pub(crate) use features::{check_helpers, kernel, lacking_rights};
pub(crate) use flows::{FlowCursor, FlowTables, Pass};
pub(crate) use host::Host;
pub(crate) use inspect::{detach, maps, status};
pub(crate) use interfaces::{Framing, Interface, Role, Snapshot};
pub(crate) use judgement::{Judgement, Sweep};
pub(crate) use pins::Pins;
pub(crate) use pressure::Pressure;
pub(crate) use program::{Datapath, Options};
pub(crate) use programs::programs;
pub(crate) use reserved::{local_range, release, reserve};
pub(crate) use sightings::Sightings;
pub(crate) use stats::{Counters, verdict_side};

pub(crate) use tables::LiveTables;
pub(crate) use way_tables::WayTables;
pub(crate) use ways::KernelWays;
pub(crate) use xdp::InterfaceTable;

/// An error of the datapath: what was tried, what the kernel said, and the fix where one is known.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DatapathError {
    pub(crate) kind: DatapathErrorKind,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatapathErrorKind {
    /// Another agent holds the pins.
    InUse,
    /// What is pinned is not this version's, or not Harbor's at all.
    Foreign,
    /// Whoever asks may not look.
    Denied,
    Failed,
}

impl DatapathError {
    fn new(message: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Failed,
            message: message.into(),
            fix: None,
        }
    }

    fn foreign(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Foreign,
            ..Self::with_fix(message, fix)
        }
    }

    pub(crate) fn with_fix(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Failed,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Names what was tried when the kernel refuses it.
trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, DatapathError>;
}

impl<T, E: std::error::Error> Tried<T> for Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, DatapathError> {
        self.map_err(|error| {
            let mut message = format!("{}: {error}", what());
            let mut source = error.source();
            while let Some(cause) = source {
                let text = cause.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                source = cause.source();
            }
            DatapathError::new(message)
        })
    }
}

#[cfg(test)]
mod tests;
