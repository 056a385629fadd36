//! Who may keep how many flows, and what happens when room gets short.

use std::collections::{BTreeMap, BTreeSet};

use super::Forwarder;
use crate::{
    datapath::{ClientLoad, DatapathError, Pressure},
    model::{Filled, Shares},
    reconcile::{FrontendKey, frontends},
};

impl Forwarder {
    fn shares(&self) -> Shares {
        self.terms.shares
    }

    /// Where room was short at the last sweep.
    pub(super) fn pressure(&self) -> Pressure {
        let mut pressure = Pressure::default();
        for (family, used) in self.sweep.flows.into_iter().enumerate() {
            pressure.of_table(family, used, self.capacity.into());
        }
        for (_, slot, used, room) in self.ports_filled() {
            pressure.of_port(slot, used, room);
        }
        for (slot, row) in self.mirror.actual.backends.values() {
            let backend = (*slot, row.generation);
            let load = self.sweep.by_backend.get(&backend);
            let used = load.map_or(0, |load| load.flows);
            pressure.of_backend(backend, used, self.source_ports_towards(row.sources));
        }
        pressure
    }

    /// Each port that carries anything: its key and slot, the flows that it keeps, and how many it may.
    fn ports_filled(&self) -> impl Iterator<Item = (FrontendKey, u32, u64, u64)> + '_ {
        let most = u64::from(self.shares().port);
        let served = self.mirror.actual.frontends.iter();
        served.filter_map(move |(key, (frontend, _))| {
            let load = self.sweep.by_frontend.get(&frontend.slot)?;
            Some((*key, frontend.slot, load.kept, most))
        })
    }

    /// How many flows a backend can have that sees these addresses.
    fn source_ports_towards(&self, sources: u32) -> u64 {
        let ports = self.settings.source_ports.clone().count() as u64;
        let addresses = self.mirror.actual.sources.get(&sources);
        addresses.map_or(0, |sources| u64::from(sources.count) * ports)
    }

    /// Takes no new flows for the ports of organizations that keep as many as they may.
    pub(super) fn close_full_organizations(&mut self) {
        let most = u64::from(self.shares().organization);
        let mut slots = BTreeSet::new();
        for (_, kept, of_it) in self.organizations() {
            if kept >= most {
                slots.extend(of_it);
            }
        }
        if let Err(error) = self.clients.close(slots) {
            tracing::error!("{error}");
        }
    }

    /// Each organization with the flows that its ports keep, and their slots.
    fn organizations(&self) -> Vec<(String, u64, Vec<u32>)> {
        let mut found: BTreeMap<&str, (u64, Vec<u32>)> = BTreeMap::new();
        let services = self.inputs.services.iter().flat_map(BTreeMap::values);
        for service in services {
            let Some(provisioned) = &service.provisioned else {
                continue;
            };
            let entry = found.entry(&provisioned.organization).or_default();
            for key in frontends(service) {
                if let Some((frontend, _)) = self.mirror.actual.frontends.get(&key) {
                    let load = self.sweep.by_frontend.get(&frontend.slot);
                    entry.0 += load.map_or(0, |load| load.kept);
                    entry.1.push(frontend.slot);
                }
            }
        }
        let named = found.into_iter();
        named
            .map(|(name, (kept, slots))| (name.to_owned(), kept, slots))
            .collect()
    }

    /// What is filled most: the flow tables, a port, an organization, a backend's source ports, a client
    /// at one port and one at all ports.
    pub(super) fn filled(&self) -> Result<Vec<Filled>, DatapathError> {
        let port = |key: &FrontendKey| format!("{}/{}", key.port, key.protocol);
        let families = ["IPv4", "IPv6"].into_iter().zip(self.sweep.flows);
        let room = self.capacity.into();
        let mut all: Vec<Filled> = families
            .map(|(family, used)| Filled::new("flow table", family, used, room))
            .collect();
        let ports = self.ports_filled();
        all.extend(
            ports
                .max_by_key(|(_, _, used, _)| *used)
                .map(|(key, _, used, _)| self.port_filled(&key, used)),
        );
        let most = self.shares().organization.into();
        all.extend(
            self.organizations()
                .into_iter()
                .max_by_key(|(_, kept, _)| *kept)
                .map(|(name, kept, _)| Filled::new("organization", &name, kept, most)),
        );
        let backends = self.mirror.actual.backends.iter();
        let loads = backends.filter_map(|(key, (slot, row))| {
            let load = self.sweep.by_backend.get(&(*slot, row.generation))?;
            Some((key, load.flows, self.source_ports_towards(row.sources)))
        });
        all.extend(
            loads
                .max_by_key(|(_, used, _)| *used)
                .map(|(key, used, room)| {
                    let name = format!("{} of {}", key.address, port(&key.frontend));
                    Filled::new("source ports towards", &name, used, room)
                }),
        );
        for largest in self.clients.largest()?.into_iter().flatten() {
            all.extend(self.client_filled(&largest));
        }
        all.retain(|filled| filled.used > 0);
        Ok(all)
    }

    /// Everything that has as much as it may, or nearly so; of clients those with most.
    pub(super) fn full(&self) -> Result<Vec<Filled>, DatapathError> {
        let mut all = self.filled()?;
        all.retain(|one| one.what != "port");
        let ports = self.ports_filled();
        all.extend(ports.map(|(key, _, used, _)| self.port_filled(&key, used)));
        all.retain(Filled::is_nearly_full);
        Ok(all)
    }

    /// The flows that a port keeps, of those that one may.
    pub(super) fn port_filled(&self, key: &FrontendKey, kept: u64) -> Filled {
        let name = format!("{}/{}", key.port, key.protocol);
        Filled::new("port", &name, kept, self.shares().port.into())
    }

    fn client_filled(&self, largest: &ClientLoad) -> Option<Filled> {
        let Some(slot) = largest.slot else {
            return Some(Filled {
                what: "client".into(),
                name: format!("{} at all ports", largest.client),
                used: largest.kept,
                room: self.shares().client.into(),
            });
        };
        let mut served = self.mirror.actual.frontends.iter();
        let (key, (_, sets)) = served.find(|(_, (frontend, _))| frontend.slot == slot)?;
        let most = sets.first().map_or(0, |set| set.limits.max_per_client);
        Some(Filled {
            what: "client".into(),
            name: format!("{} at {}/{}", largest.client, key.port, key.protocol),
            used: largest.kept,
            room: most.into(),
        })
    }
}
