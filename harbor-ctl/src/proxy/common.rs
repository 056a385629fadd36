//! What all workers share: settings, the ledger of descriptors, and what they have to tell.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    ProxySettings, backend::Backend, descriptors::Ledger, frontend::Frontend, limits::release,
    only::Only, patience::Patience, seats::Key,
};
use crate::model::{Doubt, Evidence, Suspect, Testimony, Witness};

/// Shared by the proxy's threads.
#[derive(Debug)]
pub(super) struct Common {
    /// The most flows.
    flows_limit: u64,
    pub(super) patience: Patience,
    pub(super) only: Only,
    pub(super) ledger: Arc<Ledger>,
    /// Flows now, all ports and both protocols.
    pub(super) flows: AtomicU64,
    /// Clients turned away for want of room.
    pub(super) shed: AtomicU64,
    evidence: Testimony,
}

impl Common {
    pub(super) fn new(settings: ProxySettings, ledger: Arc<Ledger>) -> Self {
        Self {
            flows_limit: settings.flows.into(),
            patience: Patience::new(&settings),
            only: Only::new(settings.addresses),
            ledger,
            flows: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            evidence: Testimony::default(),
        }
    }

    /// Whether a new flow finds room here; if not, it is counted as shed.
    pub(super) fn has_room(&self, descriptors: u64) -> bool {
        let has_room =
            self.flows.load(Relaxed) < self.flows_limit && self.ledger.has_room(descriptors);
        if !has_room {
            self.shed.fetch_add(1, Relaxed);
        }
        has_room
    }

    /// Notes that a backend has failed a flow, and who has seen it.
    pub(super) fn doubt(&self, key: Key, backend: &Backend, doubt: Doubt, witness: Witness) {
        backend.doubt();
        self.testify(key, backend, witness, Err(doubt));
    }

    /// Notes that a backend has taken a flow.
    pub(super) fn trust(&self, key: Key, backend: &Backend) {
        if backend.trust() {
            self.testify(key, backend, Witness::Unknown, Ok(()));
        }
    }

    fn testify(&self, key: Key, backend: &Backend, witness: Witness, sight: Result<(), Doubt>) {
        let suspect = Suspect {
            protocol: key.0,
            port: key.1,
            address: backend.address,
        };
        self.evidence.put(Evidence {
            suspect,
            witness,
            sight,
        });
    }

    /// What was noted since this was asked last.
    pub(super) fn take_evidence(&self) -> Vec<Evidence> {
        self.evidence.take()
    }

    /// Counts a flow that `admit` has let in.
    pub(super) fn begin(&self, frontend: &Frontend) {
        self.flows.fetch_add(1, Relaxed);
        frontend.standing.load.flows_total.fetch_add(1, Relaxed);
    }

    /// Takes back what `begin` and `admit` have counted as there now.
    pub(super) fn end(&self, frontend: &Frontend, client: IpAddr) {
        self.flows.fetch_sub(1, Relaxed);
        release(frontend, client);
    }
}

/// The address that `rustix` has read, as people write it.
pub(super) fn read_address(address: rustix::net::SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => super::datagrams::plain(v6),
    })
}

/// Whether an address is one of this host's own.
pub(super) fn is_own(address: IpAddr) -> bool {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return false;
    };
    let mut addresses = interfaces.filter_map(|interface| interface.address);
    address.is_loopback()
        || addresses.any(|own| {
            let v4 = own.as_sockaddr_in().map(|own| IpAddr::V4(own.ip()));
            let v6 = own.as_sockaddr_in6().map(|own| IpAddr::V6(own.ip()));
            v4.or(v6) == Some(address)
        })
}

/// An address of which only the port is known.
pub(super) fn unknown(port: u16) -> SocketAddr {
    (std::net::Ipv6Addr::UNSPECIFIED, port).into()
}
