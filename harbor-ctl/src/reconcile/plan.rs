//! The difference between desired and actual, as steps in the order that no packet can trip over.
//! Pure and printable.

use std::collections::{BTreeMap, BTreeSet};

use harbor_common::{
    addr::Ipv4,
    backend::{Backend, Endpoint},
    frontend::{BackendSet, Frontend},
    maps::{BACKEND_SLOTS, FRONTEND_SLOTS},
};

use super::{
    Actual, BackendKey, Desired, FrontendKey, Slots,
    desired::{DesiredFrontend, endpoint},
};

/// Steps towards the desired state, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Own addresses to add or change.
    pub(crate) grant: Vec<(Ipv4, u32)>,
    /// Backend rows to write: new ones and changed ones.
    pub(crate) backends: Vec<(u32, Backend)>,
    /// Endpoints to make known.
    pub(crate) endpoints: Vec<(Endpoint, u32)>,
    /// Frontends to begin or change: the set is written aside, then the frontend flipped to it.
    pub(crate) frontends: Vec<(FrontendKey, Frontend, BackendSet)>,
    /// Frontends to end.
    pub(crate) ended: Vec<FrontendKey>,
    /// Backend rows to mark gone.
    pub(crate) gone: Vec<(u32, Backend)>,
    /// Endpoints to forget.
    pub(crate) strangers: Vec<Endpoint>,
    /// Own addresses to remove.
    pub(crate) revoke: Vec<Ipv4>,
    /// What there was no slot for, in words.
    pub(crate) refused: Vec<String>,
}

impl Plan {
    /// What leads from `actual` to `desired`.
    pub(crate) fn between(
        actual: &Actual,
        desired: &Desired,
        frontend_slots: &mut Slots,
        backend_slots: &mut Slots,
    ) -> Self {
        let mut plan = Self::default();
        plan.addresses(actual, desired);
        let slots = plan.backends(actual, desired, backend_slots);
        plan.frontends(actual, desired, &slots, frontend_slots);
        plan.endpoints(actual, desired, &slots);
        plan
    }

    /// Whether nothing has to be done.
    pub(crate) fn is_empty(&self) -> bool {
        *self
            == Self {
                refused: self.refused.clone(),
                ..Self::default()
            }
    }

    fn addresses(&mut self, actual: &Actual, desired: &Desired) {
        for (address, roles) in &desired.addresses {
            if actual.addresses.get(address) != Some(roles) {
                self.grant.push((*address, *roles));
            }
        }
        let gone = actual
            .addresses
            .keys()
            .filter(|a| !desired.addresses.contains_key(a));
        self.revoke.extend(gone);
    }

    /// Plans backend rows and answers with every desired backend's slot.
    fn backends(
        &mut self,
        actual: &Actual,
        desired: &Desired,
        slots: &mut Slots,
    ) -> BTreeMap<BackendKey, u32> {
        let mut placed = BTreeMap::new();
        for (key, row) in &desired.backends {
            match actual.backends.get(key) {
                Some((slot, held)) => {
                    let row = Backend {
                        generation: held.generation,
                        ..*row
                    };
                    if row != *held {
                        self.backends.push((*slot, row));
                    }
                    placed.insert(*key, *slot);
                }
                None => match slots.take() {
                    Some(slot) => {
                        let generation = actual.generations.get(&slot).copied().unwrap_or(0);
                        let generation = generation.wrapping_add(1).max(1);
                        self.backends.push((slot, Backend { generation, ..*row }));
                        placed.insert(*key, slot);
                    }
                    None => self.refused.push(format!(
                        "backend {} of port {}: all {BACKEND_SLOTS} backend slots are used",
                        key.address, key.frontend.port
                    )),
                },
            }
        }
        for (key, (slot, held)) in &actual.backends {
            if !desired.backends.contains_key(key) && !desired.unrouted.contains(key) {
                self.gone.push((
                    *slot,
                    Backend {
                        state: Backend::GONE,
                        ..*held
                    },
                ));
            }
        }
        placed
    }

    fn frontends(
        &mut self,
        actual: &Actual,
        desired: &Desired,
        placed: &BTreeMap<BackendKey, u32>,
        slots: &mut Slots,
    ) {
        for (key, wanted) in &desired.frontends {
            let set = set(wanted, placed);
            match actual.frontends.get(key) {
                Some((_, held)) if *held == set => {}
                Some((frontend, _)) => self.frontends.push((*key, frontend.flipped(), set)),
                None => match slots.take() {
                    Some(slot) => {
                        self.frontends.push((
                            *key,
                            Frontend {
                                slot,
                                generation: 1,
                            },
                            set,
                        ));
                    }
                    None => self.refused.push(format!(
                        "port {}/{}: all {FRONTEND_SLOTS} frontend slots are used",
                        key.port, key.protocol
                    )),
                },
            }
        }
        let ended = actual
            .frontends
            .keys()
            .filter(|key| !desired.frontends.contains_key(key));
        self.ended.extend(ended);
    }

    fn endpoints(
        &mut self,
        actual: &Actual,
        desired: &Desired,
        placed: &BTreeMap<BackendKey, u32>,
    ) {
        let kept = desired
            .unrouted
            .iter()
            .filter_map(|key| actual.backends.get(key));
        let mut known: BTreeSet<_> = kept.map(|(_, row)| endpoint(row)).collect();
        for (key, row) in &desired.backends {
            let Some(slot) = placed.get(key) else {
                continue;
            };
            let endpoint = endpoint(row);
            if known.insert(endpoint) && !actual.endpoints.contains_key(&endpoint) {
                self.endpoints.push((endpoint, *slot));
            }
        }
        let strangers = actual
            .endpoints
            .keys()
            .filter(|endpoint| !known.contains(endpoint));
        self.strangers.extend(strangers);
    }
}

fn set(wanted: &DesiredFrontend, placed: &BTreeMap<BackendKey, u32>) -> BackendSet {
    let mut set = BackendSet {
        policy: wanted.policy,
        ..BackendSet::default()
    };
    let slots = wanted.backends.iter().filter_map(|key| placed.get(key));
    for (element, slot) in set.backends.iter_mut().zip(slots) {
        *element = *slot;
        set.count += 1;
    }
    set
}
