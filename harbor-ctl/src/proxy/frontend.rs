//! What a (protocol, port) is now: its backends, who of them takes new flows, its settings.
//!
//! A frontend is made anew with every change of its service and never changes itself, so that a
//! worker sees the old one or the new one. What has to outlive a change stands in [`Standing`] and in
//! the backends, which the new frontend takes over from the old.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
};

use rustls::ServerConfig;

use super::{backend::Backend, limits::Lists, load::Load, seal::Seal, seats::Key};
use crate::model::{
    self, AllDown, BackendState, Policy, PortSettings, Protocol, Service, interleave, maglev,
    takers,
};

/// Entries of a table of turns, as many as the datapath's have; prime, as Maglev wants it.
const TURNS: usize = 1_021;

/// A (protocol, port) that is served.
#[derive(Debug)]
pub(super) struct Frontend {
    pub(super) key: Key,
    /// The id of its service.
    pub(super) service: String,
    pub(super) settings: PortSettings,
    pub(super) lists: Lists,
    pub(super) policy: Policy,
    /// Whether the TLS of its connections ends here.
    pub(super) ends_tls: bool,
    /// All that are not gone, in order of registration.
    pub(super) backends: Box<[Arc<Backend>]>,
    /// Those that take new flows, in the same order.
    pub(super) takers: Box<[Taker]>,
    /// Whose turn it is: positions of `takers`; empty = in their order.
    pub(super) turns: Vec<u8>,
    pub(super) standing: Arc<Standing>,
}

/// A backend that takes new flows.
#[derive(Debug)]
pub(super) struct Taker {
    pub(super) backend: Arc<Backend>,
    pub(super) weight: u8,
}

/// A port that is to end TLS cannot.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoCertificate;

/// What is kept of a frontend over all its changes.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) load: Load,
    /// Flows that a limit or a list refused.
    pub(super) refused: AtomicU64,
    /// Round robin's hand.
    pub(super) cursor: AtomicU64,
    /// [`Policy::First`]: the number of the current backend; 0 = none.
    pub(super) current: AtomicU64,
    /// When the limit on new flows has been worked off; the same for datagrams and bytes.
    pub(super) new_flows: AtomicU64,
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
    /// What new connections end their TLS with.
    pub(super) tls: Mutex<Option<Arc<ServerConfig>>>,
    /// Which backend a client keeps, and until when. Only ports with `affinity_s` lock it.
    pub(super) kept: Mutex<HashMap<IpAddr, (u64, u64)>>,
}

impl Frontend {
    /// What a service's port is now. `before` is what it was, if the service is the same.
    pub(super) fn of(
        service: &Service,
        key: Key,
        all_down: AllDown,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.service == service.id);
        let known = |address| {
            let mut backends = before?.backends.iter();
            backends.find(|backend| backend.address == address).cloned()
        };
        let there = || {
            let all = service.backends.iter();
            all.filter(|backend| backend.state != BackendState::Removed)
        };
        let taking = match service.draining {
            true => Vec::new(),
            false => takers(&there().collect::<Vec<_>>(), all_down),
        };
        let takes = |one: &model::Backend| taking.iter().any(|taker| std::ptr::eq(*taker, one));
        let (mut backends, mut takers) = (Vec::new(), Vec::new());
        for one in there() {
            let backend = known(one.address).unwrap_or_else(|| Arc::new(Backend::new(one.address)));
            backend.leave(one.failing.is_some() && !takes(one) && !taking.is_empty());
            if takes(one) {
                let weight = one.weight.max(1);
                let backend = Arc::clone(&backend);
                takers.push(Taker { backend, weight });
            }
            backends.push(backend);
        }
        let policy = service.policy(key.0);
        Self {
            key,
            service: service.id.clone(),
            settings: service.settings.clone(),
            lists: Lists::of(&service.settings),
            policy,
            ends_tls: key.0 == Protocol::Tcp && service.ends_tls(),
            turns: turns(policy, &takers),
            backends: backends.into_boxed_slice(),
            takers: takers.into_boxed_slice(),
            standing: before.map_or_else(Arc::default, |before| Arc::clone(&before.standing)),
        }
    }

    /// The TLS of a new connection; `Err` = it is to have one, and there is no certificate for it.
    pub(super) fn seal(&self, now: u64) -> Result<Option<Seal>, NoCertificate> {
        if !self.ends_tls {
            return Ok(None);
        }
        let held = self.standing.tls.lock();
        let config = held.unwrap_or_else(PoisonError::into_inner).clone();
        let seal = config.and_then(|config| Seal::new(config, now));
        seal.map(Some).ok_or(NoCertificate)
    }

    /// Marks those of its backends as gone that `next` has not.
    pub(super) fn retire_for(&self, next: Option<&Self>) {
        let stays = |backend: &Arc<Backend>| {
            let mut backends = next.into_iter().flat_map(|next| &next.backends);
            backends.any(|other| Arc::ptr_eq(other, backend))
        };
        let gone = self.backends.iter().filter(|backend| !stays(backend));
        gone.for_each(|backend| backend.go());
    }
}

fn turns(policy: Policy, takers: &[Taker]) -> Vec<u8> {
    let weights: Vec<u8> = takers.iter().map(|taker| taker.weight).collect();
    let are_equal = weights.windows(2).all(|pair| pair[0] == pair[1]);
    let table = || vec![0; TURNS];
    match policy {
        _ if takers.is_empty() => Vec::new(),
        Policy::RoundRobin if !are_equal => {
            let mut turns = table();
            interleave(&weights, &mut turns);
            turns
        }
        Policy::SourceHash => {
            let (mut turns, backends) = (table(), takers.iter());
            let backends = backends.map(|t| (t.backend.address, t.weight));
            maglev(&backends.collect::<Vec<_>>(), &mut turns);
            turns
        }
        _ => Vec::new(),
    }
}
