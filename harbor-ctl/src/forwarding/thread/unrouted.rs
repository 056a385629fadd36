//! Backends that no route of this node leads to: the kernel's tables have no place for them, and whoever
//! looks is to be told.

use std::{collections::BTreeSet, net::IpAddr};

use super::Forwarder;
use crate::{
    model::{BackendReport, BackendState, Engine, Suspect},
    reconcile::Scope,
};

impl Forwarder {
    /// Says so in reports of backends; of one that has none there is one more.
    pub(super) fn add_unrouted(&self, reports: &mut Vec<BackendReport>, scope: &Scope) {
        let hosts = self.inputs.hosts.iter();
        let is_without = |host: &&IpAddr| !self.inputs.routes.contains_key(host);
        let hosts: BTreeSet<IpAddr> = hosts.filter(is_without).copied().collect();
        if hosts.is_empty() {
            return;
        }
        let mut wanted = self.wanted_on(&hosts, scope);
        for report in reports.iter_mut() {
            let (protocol, port, address) = (report.protocol, report.port, report.address);
            report.is_unrouted = wanted.remove(&Suspect {
                protocol,
                port,
                address,
            });
        }
        reports.extend(wanted.iter().map(|backend| BackendReport {
            is_unrouted: true,
            ..BackendReport::blank(backend, Engine::Tc)
        }));
    }

    /// Backends on these hosts.
    fn wanted_on(&self, hosts: &BTreeSet<IpAddr>, scope: &Scope) -> BTreeSet<Suspect> {
        let mut wanted = BTreeSet::new();
        for service in self.inputs.services.iter().flat_map(|all| all.values()) {
            let there = service.backends.iter();
            let there = there.filter(|backend| backend.state != BackendState::Removed);
            for backend in there.filter(|backend| hosts.contains(&backend.address.ip())) {
                let each = service.protocols.each().iter();
                wanted.extend(each.map(|protocol| Suspect {
                    protocol: *protocol,
                    port: service.port,
                    address: backend.address,
                }));
            }
        }
        if let Scope::Part(keys) = scope {
            wanted.retain(|backend| {
                keys.iter()
                    .any(|key| (key.protocol, key.port) == (backend.protocol, backend.port))
            });
        }
        wanted
    }
}
