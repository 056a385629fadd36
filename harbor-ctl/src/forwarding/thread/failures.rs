//! What is held against backends: what the datapath tells of clients' flows, what the kernel says of
//! neighbours, and which backends are ejected for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use super::Forwarder;
use crate::{
    datapath::KernelRoutes,
    model::{Doubt, Evidence, Suspect, Witness},
    reconcile::{self, FrontendKey, Scope},
};

/// The last word on each backend, and who is ejected.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// By the backend's slot, with the tenant that it is about.
    last: BTreeMap<u32, (SocketAddr, Doubt)>,
    /// Hosts on the backends' own links that the kernel has asked for in vain.
    lost: BTreeSet<IpAddr>,
}

impl Doubts {
    /// What was last said of a backend.
    pub(super) fn of(&self, slot: u32, address: SocketAddr) -> Option<Doubt> {
        let (tenant, doubt) = self.last.get(&slot)?;
        (*tenant == address).then_some(*doubt)
    }
}

impl Forwarder {
    /// Empties the ring.
    pub(super) fn hear(&mut self) {
        loop {
            match self.sightings.next() {
                Ok(Some((slot, evidence))) => {
                    if let Err(doubt) = evidence.sight {
                        let Suspect { address, port, .. } = evidence.suspect;
                        tracing::debug!(%address, port, "{}", doubt.reason());
                        self.doubts.last.insert(slot, (address, doubt));
                    }
                    self.news_of_backends.put(evidence);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("{error}");
                    return;
                }
            }
        }
    }

    /// A backend on a link of this node whose address nobody answers for cannot be reached: the kernel
    /// has asked, so this is news once for each time that it has asked in vain.
    pub(super) fn hear_of_neighbours(&mut self, kernel: &KernelRoutes) {
        let routes = &self.inputs.routes;
        let is_backend =
            |(host, by): &(IpAddr, u32)| routes.get(host).is_some_and(|route| route.ifindex == *by);
        let lost = kernel.lost().filter(is_backend).map(|(host, _)| host);
        let lost: BTreeSet<IpAddr> = lost.collect();
        for host in lost.difference(&self.doubts.lost) {
            let backends = self.mirror.actual.backends.iter();
            for (key, (slot, _)) in backends.filter(|(key, _)| key.address.ip() == *host) {
                self.doubts
                    .last
                    .insert(*slot, (key.address, Doubt::NoNeighbour));
                self.news_of_backends.put(Evidence {
                    suspect: Suspect {
                        protocol: key.frontend.protocol,
                        port: key.frontend.port,
                        address: key.address,
                    },
                    witness: Witness::Kernel,
                    sight: Err(Doubt::NoNeighbour),
                });
            }
        }
        self.doubts.lost = lost;
    }

    /// How many backends of a frontend new flows avoid.
    pub(super) fn ejected_of(&self, key: &FrontendKey) -> u32 {
        let ejected = self.inputs.ejected.keys();
        let own =
            ejected.filter(|suspect| (suspect.protocol, suspect.port) == (key.protocol, key.port));
        u32::try_from(own.count()).unwrap_or(u32::MAX)
    }

    /// Has new flows avoid a backend for this reason while another can take them, or no longer.
    pub(super) fn eject(&mut self, suspect: &Suspect, doubt: Option<Doubt>) {
        let ejected = &mut self.inputs.ejected;
        let is_new = match doubt {
            Some(doubt) => ejected.insert(*suspect, doubt).is_none(),
            None => ejected.remove(suspect).is_some(),
        };
        let services = self.inputs.services.iter().flat_map(BTreeMap::values);
        let mut own = services.filter(|service| {
            service.port == suspect.port && service.protocols.contains(suspect.protocol)
        });
        let Some(service) = own.next().filter(|_| is_new && !self.inputs.is_open) else {
            return;
        };
        let key = FrontendKey {
            protocol: suspect.protocol,
            port: suspect.port,
        };
        let scope = Scope::Part(BTreeSet::from([key]));
        let desired = reconcile::desired([service.as_ref()], scope, self.inputs.host_view());
        if let Err(error) = self.plan_and_apply(&desired) {
            tracing::error!("cannot bring the tables up to date: {error}");
            self.inputs.is_open = true;
        }
    }
}
