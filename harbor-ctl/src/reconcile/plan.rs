//! The difference between desired and actual, as steps in the order that no packet can trip over.
//! Pure and printable.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use harbor_common::{
    addr::Ip,
    backend::{Backend, Endpoint, Sources},
    frontend::{BackendSet, Frontend, Policy},
    maps::{ACL_ENTRIES, BACKEND_SLOTS, FRONTEND_SLOTS, SOURCE_LISTS, TURN_TABLES},
};

use super::{
    acl::Acl,
    actual::Actual,
    desired::{Desired, DesiredFrontend, Scope, endpoint},
    keys::{BackendKey, FrontendKey},
    pool::Pool,
    table_mirror::Free,
    turns::Turns,
};

/// Steps towards the desired state, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Plan {
    /// Own addresses to add or change.
    pub(crate) grant: Vec<(Ip, u32)>,
    /// Lists of translation addresses to write.
    pub(crate) sources: Vec<(u32, Sources)>,
    /// Backend rows to write: new ones and changed ones.
    pub(crate) backends: Vec<(u32, Backend)>,
    /// Endpoints to make known.
    pub(crate) endpoints: Vec<(Endpoint, u32)>,
    /// Lists of networks to write.
    pub(crate) acls: Vec<(u32, Acl)>,
    /// Turn tables to write.
    pub(crate) turns: Vec<(u32, Turns)>,
    /// Frontends to begin or change: the sets are written aside, then the frontend flipped to them.
    pub(crate) frontends: Vec<(FrontendKey, Frontend, [BackendSet; 2])>,
    /// Frontends to end.
    pub(crate) ended: Vec<FrontendKey>,
    /// Backend rows to mark gone.
    pub(crate) gone: Vec<(u32, Backend)>,
    /// Endpoints to forget.
    pub(crate) strangers: Vec<Endpoint>,
    /// Elements that nothing refers to after all this.
    pub(crate) idle: Idle,
    /// Own addresses to remove.
    pub(crate) revoke: Vec<Ip>,
    /// What there was no room for, in words.
    pub(crate) refused: Vec<String>,
}

/// How many steps of each kind: all of them may be megabytes.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Idle {
            sources,
            acls,
            turns,
        } = &self.idle;
        let counts = [
            ("own addresses", self.grant.len()),
            ("lists of translation addresses", self.sources.len()),
            ("backends", self.backends.len()),
            ("endpoints", self.endpoints.len()),
            ("lists of networks", self.acls.len()),
            ("turn tables", self.turns.len()),
            ("frontends", self.frontends.len()),
            ("ended frontends", self.ended.len()),
            ("gone backends", self.gone.len()),
            ("forgotten endpoints", self.strangers.len()),
            ("unused elements", sources.len() + acls.len() + turns.len()),
            ("revoked own addresses", self.revoke.len()),
        ];
        let some = counts.iter().filter(|(_, count)| *count > 0);
        let some = some.map(|(what, count)| format!("{count} {what}"));
        f.write_str(&some.collect::<Vec<_>>().join(", "))
    }
}

/// Elements to give back once no packet can read them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Idle {
    pub(crate) sources: Vec<u32>,
    pub(crate) acls: Vec<u32>,
    pub(crate) turns: Vec<u32>,
}

impl Idle {
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.is_empty() && self.acls.is_empty() && self.turns.is_empty()
    }
}

impl Plan {
    /// What leads from `actual` to `desired`.
    pub(crate) fn between(actual: &Actual, desired: &Desired, free: &mut Free) -> Self {
        let mut plan = Self::default();
        plan.addresses(actual, desired);
        let placed = plan.backends(actual, desired, free);
        plan.frontends(actual, desired, &placed, free);
        plan.endpoints(actual, desired, &placed);
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
        if let Scope::Part(_) = desired.scope {
            // Others may need more of an address than these frontends do.
            for (address, roles) in &desired.addresses {
                let held = actual.addresses.get(address).copied().unwrap_or(0);
                if held | roles != held {
                    self.grant.push((*address, held | roles));
                }
            }
            return;
        }
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
        free: &mut Free,
    ) -> BTreeMap<BackendKey, u32> {
        let mut placed = BTreeMap::new();
        let mut sources = Pool::new(&actual.sources);
        for (key, wanted) in &desired.backends {
            let Some(list) = sources.element(&wanted.sources, &mut free.sources) else {
                self.refuse_backend(key, "lists of sources", SOURCE_LISTS);
                continue;
            };
            let row = |generation| Backend {
                generation,
                sources: list,
                ..wanted.row
            };
            match actual.backends.get(key) {
                Some((slot, held)) => {
                    let row = row(held.generation);
                    if row != *held {
                        self.backends.push((*slot, row));
                    }
                    placed.insert(*key, *slot);
                }
                None => match free.backends.take() {
                    Some(slot) => {
                        let last = actual.generations.get(&slot).copied().unwrap_or(0);
                        self.backends.push((slot, row(last.wrapping_add(1).max(1))));
                        placed.insert(*key, slot);
                    }
                    None => self.refuse_backend(key, "backend slots", BACKEND_SLOTS),
                },
            }
        }
        for (key, (slot, held)) in actual.backends_within(&desired.scope) {
            if desired.unrouted.contains(key) {
                sources.keep(held.sources);
            } else if !desired.backends.contains_key(key) {
                self.gone.push((
                    *slot,
                    Backend {
                        state: Backend::GONE,
                        ..*held
                    },
                ));
            }
        }
        (self.sources, self.idle.sources) = sources.finish(&desired.scope);
        placed
    }

    fn refuse_backend(&mut self, key: &BackendKey, what: &str, count: usize) {
        self.refused.push(format!(
            "backend {} of port {}: all {count} {what} are used",
            key.address, key.frontend.port
        ));
    }

    fn frontends(
        &mut self,
        actual: &Actual,
        desired: &Desired,
        placed: &BTreeMap<BackendKey, u32>,
        free: &mut Free,
    ) {
        let mut acls = Pool::new(&actual.acls);
        let mut turns = Pool::new(&actual.turns);
        let mut room = ACL_ENTRIES - entries(actual.acls.values());
        for (key, wanted) in &desired.frontends {
            let Some(acl) = take_acl(&wanted.acl, &mut acls, free, &mut room) else {
                self.refused.push(format!(
                    "port {}/{}: its lists of networks have no room: {ACL_ENTRIES} networks are \
                     the most, all ports together; it stays as it was",
                    key.port, key.protocol
                ));
                if let Some((_, sets)) = actual.frontends.get(key) {
                    acls.keep(sets[0].limits.acl);
                    sets.iter().for_each(|set| turns.keep(set.turns));
                }
                continue;
            };
            let mut sets = sets(wanted, placed, acl);
            for (set, identity) in sets.iter_mut().zip(identities(wanted, placed)) {
                let Some(identity) = identity else { continue };
                set.turns = turns
                    .element(&identity, &mut free.turns)
                    .unwrap_or_else(|| {
                        self.refused.push(format!(
                            "port {}/{}: all {TURN_TABLES} turn tables are used: its weights do \
                             not count",
                            key.port, key.protocol
                        ));
                        0
                    });
            }
            self.frontend(actual, *key, sets, free);
        }
        let ended = actual
            .frontends_within(&desired.scope)
            .filter(|key| !desired.frontends.contains_key(key));
        self.ended.extend(ended);
        (self.acls, self.idle.acls) = acls.finish(&desired.scope);
        (self.turns, self.idle.turns) = turns.finish(&desired.scope);
    }

    fn frontend(
        &mut self,
        actual: &Actual,
        key: FrontendKey,
        sets: [BackendSet; 2],
        free: &mut Free,
    ) {
        match actual.frontends.get(&key) {
            Some((_, held)) if **held == sets => {}
            Some((frontend, _)) => self.frontends.push((key, frontend.flipped(), sets)),
            None => match free.frontends.take() {
                Some(slot) => {
                    let generation = 1;
                    let begun = Frontend { slot, generation };
                    self.frontends.push((key, begun, sets));
                }
                None => self.refused.push(format!(
                    "port {}/{}: all {FRONTEND_SLOTS} frontend slots are used",
                    key.port, key.protocol
                )),
            },
        }
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
        for (key, wanted) in &desired.backends {
            let Some(slot) = placed.get(key) else {
                continue;
            };
            let endpoint = endpoint(&wanted.row);
            if known.insert(endpoint) && !actual.endpoints.contains_key(&endpoint) {
                self.endpoints.push((endpoint, *slot));
            }
        }
        if let Scope::Part(_) = desired.scope {
            // Another frontend may have a backend there; whoever looks at all of them finds out.
            return;
        }
        let strangers = actual
            .endpoints
            .keys()
            .filter(|endpoint| !known.contains(endpoint));
        self.strangers.extend(strangers);
    }
}

fn entries<'a>(acls: impl Iterator<Item = &'a Acl>) -> usize {
    acls.map(|acl| acl.networks.len())
        .sum::<usize>()
        .min(ACL_ENTRIES)
}

/// The list's number, 0 for an empty one; `None` if there is no room for it.
fn take_acl(acl: &Acl, pool: &mut Pool<'_, Acl>, free: &mut Free, room: &mut usize) -> Option<u32> {
    if acl.networks.is_empty() {
        return Some(0);
    }
    if !pool.holds(acl) {
        *room = room.checked_sub(acl.networks.len())?;
    }
    pool.element(acl, &mut free.acls)
}

/// Both families' sets, without turn tables.
fn sets(wanted: &DesiredFrontend, placed: &BTreeMap<BackendKey, u32>, acl: u32) -> [BackendSet; 2] {
    let mut sets = [BackendSet::default(); 2];
    for (set, handed) in sets.iter_mut().zip(wanted.handed) {
        set.handed = u32::from(handed);
    }
    for (set, takers) in sets.iter_mut().zip(&wanted.takers) {
        set.policy = wanted.policy as u32;
        set.limits = wanted.limits;
        set.limits.acl = acl;
        let slots = takers
            .iter()
            .filter_map(|(key, weight)| Some((*placed.get(key)?, *weight)));
        let places = set.backends.iter_mut().zip(&mut set.weights);
        for ((place, share), (slot, weight)) in places.zip(slots) {
            (*place, *share) = (slot, weight);
            set.count += 1;
        }
    }
    let counts = [sets[1].count, sets[0].count];
    for (set, other) in sets.iter_mut().zip(counts) {
        set.other_family = other;
    }
    sets
}

/// What both families' turn tables are made from; `None` where no table is needed.
fn identities(wanted: &DesiredFrontend, placed: &BTreeMap<BackendKey, u32>) -> [Option<Turns>; 2] {
    let of = |takers: &Vec<(BackendKey, u8)>| {
        let takers = takers.iter().filter(|(key, _)| placed.contains_key(key));
        let weights: Vec<u8> = takers.clone().map(|(_, weight)| *weight).collect();
        match wanted.policy {
            _ if weights.is_empty() => None,
            Policy::SourceHash => {
                let backend = |(key, weight): &(BackendKey, u8)| (key.address, *weight);
                Some(Turns::Hashed(takers.map(backend).collect()))
            }
            Policy::RoundRobin if weights.iter().any(|weight| *weight != weights[0]) => {
                Some(Turns::Weighted(weights))
            }
            _ => None,
        }
    };
    [of(&wanted.takers[0]), of(&wanted.takers[1])]
}
