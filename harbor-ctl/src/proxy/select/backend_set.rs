//! Who serves a port: its backends, and who of them takes new flows.
//!
//! Most ports never have a flow that the packet path does not carry. Their backends are not pictured
//! here before one comes.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use harbor_common::frontend::TURNS;

use super::backend::Backend;
use crate::model::{
    self, AllDown, BackendState, Doubt, Policy, Protocol, Service, interleave, maglev, takers,
};

/// A port's service as it is now, and its backends as far as they are pictured.
#[derive(Debug)]
pub(super) struct Known {
    /// `None` = it has ended, or the port is another's now.
    service: Option<Arc<Service>>,
    all_down: AllDown,
    /// All that are not gone, in order of registration; `None` = nobody has asked yet.
    pub(super) backends: Option<Vec<Arc<Backend>>>,
    /// Whom new flows avoid, and why.
    pub(super) ejected: BTreeMap<SocketAddr, Doubt>,
}

/// Who takes new flows.
#[derive(Debug, Default)]
pub(crate) struct BackendSet {
    /// In order of registration.
    pub(crate) takers: Box<[Taker]>,
    /// Whose turn it is: positions of `takers`; empty = in their order.
    pub(super) turns: Vec<u8>,
}

/// A backend that takes new flows.
#[derive(Debug)]
pub(crate) struct Taker {
    pub(crate) backend: Arc<Backend>,
    pub(super) weight: u8,
}

impl Known {
    pub(super) fn new(service: Arc<Service>, all_down: AllDown) -> Self {
        Self {
            service: Some(service),
            all_down,
            backends: None,
            ejected: BTreeMap::new(),
        }
    }

    /// The service is this now.
    pub(super) fn set(&mut self, service: Arc<Service>, all_down: AllDown) {
        (self.service, self.all_down) = (Some(service), all_down);
    }

    /// Has new flows avoid a backend for this reason, or no longer.
    pub(super) fn eject(&mut self, address: SocketAddr, doubt: Option<Doubt>) {
        match doubt {
            Some(doubt) => self.ejected.insert(address, doubt),
            None => self.ejected.remove(&address),
        };
        let known = self.backends.iter().flatten();
        for backend in known.filter(|backend| backend.address == address) {
            backend.eject(doubt);
        }
    }

    /// The service has ended: nobody takes a flow any more, and the flows of all are to end.
    pub(super) fn end(&mut self) {
        self.service = None;
        let backends = self.backends.take().unwrap_or_default();
        backends.iter().for_each(|backend| backend.go());
    }

    /// Who takes new flows of this protocol now. Backends that were known stay themselves; those that
    /// the service has no longer are marked as gone.
    pub(super) fn roster(&mut self, protocol: Protocol) -> BackendSet {
        let Some(service) = &self.service else {
            return BackendSet::default();
        };
        let there = there(service);
        let taking = taking(service, &there, self.all_down);
        let takes = |one: &model::Backend| taking.iter().any(|taker| std::ptr::eq(*taker, one));
        let before = self.backends.take().unwrap_or_default();
        let (mut backends, mut takers) = (Vec::with_capacity(there.len()), Vec::new());
        for one in there {
            let known = before.iter().find(|known| known.address == one.address);
            let ejected = self.ejected.get(&one.address).copied();
            let new = || Arc::new(Backend::new(one.address, ejected));
            let backend = known.map_or_else(new, Arc::clone);
            backend.leave(one.failing.is_some() && !takes(one) && !taking.is_empty());
            if takes(one) {
                let weight = one.weight.max(1);
                let backend = Arc::clone(&backend);
                takers.push(Taker { backend, weight });
            }
            backends.push(backend);
        }
        let stays = |old: &Arc<Backend>| backends.iter().any(|new| Arc::ptr_eq(new, old));
        let gone = before.iter().filter(|old| !stays(old));
        gone.for_each(|backend| backend.go());
        self.backends = Some(backends);
        BackendSet {
            turns: turns(service.policy(protocol), &takers),
            takers: takers.into_boxed_slice(),
        }
    }
}

/// How many take new flows of a service, without those that are ejected.
pub(super) fn count_takers(
    service: &Service,
    all_down: AllDown,
    ejected: &BTreeMap<SocketAddr, Doubt>,
) -> usize {
    let taking = taking(service, &there(service), all_down).into_iter();
    let well = taking.filter(|backend| !ejected.contains_key(&backend.address));
    well.count()
}

/// The backends that are not gone.
pub(super) fn there(service: &Service) -> Vec<&model::Backend> {
    let all = service.backends.iter();
    all.filter(|backend| backend.state != BackendState::Removed)
        .collect()
}

fn taking<'a>(
    service: &Service,
    there: &[&'a model::Backend],
    all_down: AllDown,
) -> Vec<&'a model::Backend> {
    match service.draining {
        true => Vec::new(),
        false => takers(there, all_down),
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
