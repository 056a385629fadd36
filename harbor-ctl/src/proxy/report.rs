//! What the proxy says of its ports, their backends and itself.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    flows::shares::ShareReport,
    ports::{PortTable, unheld::Unheld},
    select::{backend::Backend, counters::Counters, frontend::Frontend},
    settings::ANSWER,
    worker::{mailbox::Inbox, shared::Common},
};
use crate::model::{BackendReport, Engine, FrontendReport, Protocol};

/// What the proxy says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyReport {
    /// Sockets of numbers.
    pub(crate) held: usize,
    /// Numbers without their socket, and why.
    pub(crate) unheld: Vec<((Protocol, u16), Unheld)>,
    /// Flows now.
    pub(crate) connections: u64,
    /// Descriptors in use by the proxy.
    pub(crate) descriptors: u64,
    /// How many it may use.
    pub(crate) descriptor_limit: u64,
    /// The process's limit with which every number had its socket, beside what there is now.
    pub(crate) descriptors_needed: u64,
    /// Connections and flows turned away for want of descriptors or because of the cap on flows.
    pub(crate) shed: u64,
    /// How full the shares of descriptors are.
    pub(crate) shares: ShareReport,
    pub(crate) threads: usize,
    /// How many of them do not answer.
    pub(crate) silent: usize,
}

pub(super) fn frontend(frontend: &Frontend) -> FrontendReport {
    let (standing, (protocol, port)) = (&frontend.standing, frontend.key);
    let load = &standing.load;
    FrontendReport {
        engine: Engine::Proxy,
        gap: None,
        protocol,
        port,
        flows: load.flows.load(Relaxed),
        flows_total: load.flows_total.load(Relaxed),
        forward_packets: load.forward.packets.load(Relaxed),
        forward_bytes: load.forward.bytes.load(Relaxed),
        reply_packets: load.reply.packets.load(Relaxed),
        reply_bytes: load.reply.bytes.load(Relaxed),
        refused: standing.refused.load(Relaxed),
        backends_reachable: u32::try_from(frontend.takers()).unwrap_or(u32::MAX),
        kept: None,
    }
}

pub(super) fn backends(frontend: &Frontend) -> Vec<BackendReport> {
    let (protocol, port) = frontend.key;
    let report = |backend: Arc<Backend>| {
        let load: &Counters = &backend.load;
        BackendReport {
            engine: Engine::Proxy,
            handed: None,
            protocol,
            port,
            address: backend.address,
            flows: load.flows.load(Relaxed),
            flows_total: load.flows_total.load(Relaxed),
            forward_packets: load.forward.packets.load(Relaxed),
            forward_bytes: load.forward.bytes.load(Relaxed),
            reply_packets: load.reply.packets.load(Relaxed),
            reply_bytes: load.reply.bytes.load(Relaxed),
            is_suspect: false,
            is_unrouted: false,
            is_ejected: backend.is_ejected(),
            doubt: backend.ejected(),
        }
    };
    frontend.backends().into_iter().map(report).collect()
}

pub(super) fn proxy(board: &PortTable, common: &Common, inboxes: &[Arc<Inbox>]) -> ProxyReport {
    let is_silent = |inbox: &&Arc<Inbox>| inbox.ask() > ANSWER;
    let unheld = board.unheld.iter();
    let scarce = board.unheld.values().filter(|why| **why == Unheld::Scarce);
    let scarce = scarce.count() as u64;
    let wanted = board.seats.len() as u64 + scarce;
    ProxyReport {
        held: board.seats.len(),
        unheld: unheld.map(|(key, why)| (*key, why.clone())).collect(),
        connections: common.flows.load(Relaxed),
        descriptors: common.ledger.used(),
        descriptor_limit: common.ledger.limit(),
        descriptors_needed: common.ledger.needed(wanted, scarce),
        shed: common.shed.load(Relaxed),
        shares: common.shares.report(),
        threads: inboxes.len(),
        silent: inboxes.iter().filter(is_silent).count(),
    }
}
