//! What the kernel holds, as the agent read it at start and has kept it since.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use harbor_common::{
    addr::Ip,
    backend::{Backend, Endpoint, Sources},
    frontend::{BackendSet, Frontend, Policy},
    protocol::Protocol as Number,
};

use super::{
    acl::Acl,
    desired::Scope,
    keys::{BackendKey, FrontendKey},
    turns::Turns,
};

/// A frontend and its sets in force, IPv4's first.
pub(crate) type Served = (Frontend, Box<[BackendSet; 2]>);

/// The contents of every table that the agent writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Actual {
    /// Own address to roles.
    pub(crate) addresses: BTreeMap<Ip, u32>,
    /// Frontends that are served.
    pub(crate) frontends: BTreeMap<FrontendKey, Served>,
    /// Backends that are not gone, with their slots.
    pub(crate) backends: BTreeMap<BackendKey, (u32, Backend)>,
    /// Endpoints that are known as backends.
    pub(crate) endpoints: BTreeMap<Endpoint, u32>,
    /// Generation of every backend slot that was ever used.
    pub(crate) generations: BTreeMap<u32, u32>,
    /// Lists of translation addresses, with their elements.
    pub(crate) sources: BTreeMap<u32, Sources>,
    /// Lists of networks, with their numbers.
    pub(crate) acls: BTreeMap<u32, Acl>,
    /// Turn tables, with their elements.
    pub(crate) turns: BTreeMap<u32, Turns>,
}

impl Actual {
    /// The backend that a row of the `backends` map describes; `None` for an unknown protocol.
    pub(crate) fn backend_key(row: &Backend) -> Option<BackendKey> {
        let protocol = Number::from_number(row.protocol)?;
        Some(BackendKey {
            frontend: FrontendKey {
                protocol: protocol.into(),
                port: row.frontend_port,
            },
            address: SocketAddr::new(IpAddr::from(row.address), row.port),
        })
    }

    /// Backends of the frontends of a scope.
    pub(crate) fn backends_within<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> Box<dyn Iterator<Item = (&'a BackendKey, &'a (u32, Backend))> + 'a> {
        match scope {
            Scope::Whole => Box::new(self.backends.iter()),
            Scope::Part(keys) => Box::new(keys.iter().flat_map(|key| {
                // Keys are in the order of frontends first.
                let first = |address: IpAddr| BackendKey {
                    frontend: *key,
                    address: SocketAddr::new(address, 0),
                };
                let from = first(Ipv4Addr::UNSPECIFIED.into());
                let own = self.backends.range(from..);
                own.take_while(|(backend, _)| backend.frontend == *key)
            })),
        }
    }

    /// Frontends of a scope that are served.
    pub(crate) fn frontends_within<'a>(
        &'a self,
        scope: &'a Scope,
    ) -> Box<dyn Iterator<Item = FrontendKey> + 'a> {
        match scope {
            Scope::Whole => Box::new(self.frontends.keys().copied()),
            Scope::Part(keys) => {
                let is_served = |key: &FrontendKey| self.frontends.contains_key(key);
                Box::new(keys.iter().copied().filter(is_served))
            }
        }
    }

    /// Packs the large maps: what was put in one after the other takes nearly twice the room.
    pub(crate) fn pack(&mut self) {
        fn packed<K: Ord, V>(map: &mut BTreeMap<K, V>) {
            *map = std::mem::take(map).into_iter().collect();
        }
        packed(&mut self.frontends);
        packed(&mut self.backends);
        packed(&mut self.endpoints);
        packed(&mut self.generations);
    }

    /// Takes a row of the `backends` map into the picture, as read or as just written.
    pub(crate) fn note_backend(&mut self, slot: u32, row: Backend) {
        if row.generation != 0 {
            self.generations.insert(slot, row.generation);
        }
        let Some(key) = Self::backend_key(&row) else {
            return;
        };
        if row.state == Backend::GONE {
            if self
                .backends
                .get(&key)
                .is_some_and(|(held, _)| *held == slot)
            {
                self.backends.remove(&key);
            }
        } else {
            self.backends.insert(key, (slot, row));
        }
    }

    /// Learns from the sets in force what their turn tables were made from; after all rows.
    pub(crate) fn note_turns(&mut self) {
        let rows: BTreeMap<u32, SocketAddr> = self
            .backends
            .iter()
            .map(|(key, (slot, _))| (*slot, key.address))
            .collect();
        for (_, sets) in self.frontends.values() {
            for set in sets.iter().filter(|set| set.turns != 0) {
                let count = (set.count as usize).min(set.backends.len());
                let weights = &set.weights[..count];
                let turns = if set.policy == Policy::SourceHash as u32 {
                    let slots = set.backends[..count].iter().zip(weights);
                    let backend = |(slot, weight): (_, &u8)| Some((*rows.get(slot)?, *weight));
                    slots.map(backend).collect::<Option<_>>().map(Turns::Hashed)
                } else {
                    Some(Turns::Weighted(weights.to_vec()))
                };
                // A set that leads to a row that is gone is about to change: nobody wants its table.
                let turns = turns.unwrap_or(Turns::Hashed(Vec::new()));
                self.turns.insert(set.turns, turns);
            }
        }
    }
}
