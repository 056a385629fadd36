//! What a (protocol, port) is now: its service and its settings, and who serves it.
//!
//! A frontend is made anew with every change of its service and never changes itself, so that a
//! worker sees the old one or the new one. What has to outlive a change stands in [`Standing`], which
//! the new frontend takes over from the old.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicU64},
};

use harbor_common::addr::Ip;
use rustls::ServerConfig;

use super::{
    backend::Backend,
    backend_set::{BackendSet, Known, count_takers, there},
    counters::Counters,
    limits::Lists,
};
use crate::{
    model::{AllDown, Doubt, Policy, PortSettings, Protocol, Service},
    proxy::{ports::socket::Key, tcp::tls::Seal},
};

/// A (protocol, port) that is served.
#[derive(Debug)]
pub(crate) struct Frontend {
    pub(crate) key: Key,
    pub(crate) service: Arc<Service>,
    all_down: AllDown,
    pub(crate) lists: Lists,
    roster: OnceLock<BackendSet>,
    pub(crate) standing: Arc<Standing>,
}

/// A port that is to end TLS cannot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoCertificate;

/// What is kept of a frontend over all its changes.
#[derive(Debug)]
pub(crate) struct Standing {
    known: Mutex<Known>,
    pub(crate) load: Counters,
    /// Flows that a limit or a list refused.
    pub(crate) refused: AtomicU64,
    /// Round robin's hand.
    pub(super) cursor: AtomicU64,
    /// [`Policy::First`]: the number of the current backend; 0 = none.
    pub(super) current: AtomicU64,
    /// When the limit on new flows has been worked off; the same for datagrams and bytes.
    pub(super) new_flows: AtomicU64,
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
    /// What new connections end their TLS with.
    pub(crate) tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Which backend a client keeps, and until when. Only ports with `affinity_s` lock it.
    pub(super) kept: Mutex<HashMap<IpAddr, (u64, u64)>>,
    /// Flows of each client now, by its address or network.
    pub(super) clients: Mutex<HashMap<Ip, u32>>,
}

impl Frontend {
    /// What a service's port is now. `before` is what it was, if the service is the same.
    pub(crate) fn of(
        service: &Arc<Service>,
        key: Key,
        all_down: AllDown,
        before: Option<&Self>,
    ) -> Self {
        let (standing, roster) = match before {
            None => (Arc::new(Standing::of(service, all_down)), OnceLock::new()),
            Some(before) => {
                let mut known = before.standing.known();
                known.set(Arc::clone(service), all_down);
                // Its flows are to hear of the change at once; without any there is no hurry.
                let is_asked = known.backends.is_some();
                let roster = is_asked.then(|| known.roster(key.0));
                let roster = roster.map_or_else(OnceLock::new, OnceLock::from);
                (Arc::clone(&before.standing), roster)
            }
        };
        Self {
            key,
            service: Arc::clone(service),
            all_down,
            lists: Lists::of(&service.settings),
            roster,
            standing,
        }
    }

    pub(crate) fn settings(&self) -> &PortSettings {
        &self.service.settings
    }

    pub(crate) fn policy(&self) -> Policy {
        self.service.policy(self.key.0)
    }

    /// Who takes new flows.
    pub(crate) fn roster(&self) -> &BackendSet {
        // Asked first by a worker who has not heard of a change yet, it is of the change already.
        self.roster
            .get_or_init(|| self.standing.known().roster(self.key.0))
    }

    /// How many take new flows, without those that are ejected.
    pub(crate) fn takers(&self) -> usize {
        match self.roster.get() {
            Some(roster) => {
                let takers = roster.takers.iter();
                takers.filter(|taker| !taker.backend.is_ejected()).count()
            }
            None => count_takers(&self.service, self.all_down, &self.standing.known().ejected),
        }
    }

    /// Has new flows avoid a backend for this reason, or no longer.
    pub(crate) fn eject(&self, address: SocketAddr, doubt: Option<Doubt>) {
        self.standing.known().eject(address, doubt);
    }

    /// All that are not gone, in order of registration.
    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        let known = self.standing.known().backends.clone();
        known.unwrap_or_else(|| {
            let there = there(&self.service).into_iter();
            // They have carried nothing, and nobody else gets to see these.
            there
                .map(|one| Arc::new(Backend::new(one.address, None)))
                .collect()
        })
    }

    /// The TLS of a new connection; `Err` = it is to have one, and there is no certificate for it.
    pub(crate) fn seal(&self, now: u64) -> Result<Option<Seal>, NoCertificate> {
        if self.key.0 != Protocol::Tcp || !self.service.ends_tls() {
            return Ok(None);
        }
        let held = self.standing.tls.lock();
        let config = held.unwrap_or_else(PoisonError::into_inner).clone();
        let seal = config.and_then(|config| Seal::new(config, now));
        seal.map(Some).ok_or(NoCertificate)
    }

    /// It is served no longer: marks its backends as gone.
    pub(crate) fn retire(&self) {
        self.standing.known().end();
    }
}

impl Standing {
    fn of(service: &Arc<Service>, all_down: AllDown) -> Self {
        Self {
            known: Mutex::new(Known::new(Arc::clone(service), all_down)),
            load: Counters::default(),
            refused: AtomicU64::default(),
            cursor: AtomicU64::default(),
            current: AtomicU64::default(),
            new_flows: AtomicU64::default(),
            packets: AtomicU64::default(),
            bytes: AtomicU64::default(),
            tls: Mutex::default(),
            kept: Mutex::default(),
            clients: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
