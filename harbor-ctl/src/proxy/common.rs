//! What all workers share: settings, the ledger of descriptors, and what they have to tell.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{
    ProxySettings,
    backend::Backend,
    book::Home,
    descriptors::Ledger,
    frontend::Frontend,
    limits::{admit, release},
    only::Only,
    patience::Patience,
    poll::Name,
    seats::Key,
    shares::{Holding, Shares},
};
use crate::model::{Doubt, Evidence, Suspect, Testimony, Witness};

/// Shared by the proxy's threads.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) shares: Arc<Shares>,
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
            shares: Arc::new(Shares::new(&settings, Arc::clone(&ledger))),
            patience: Patience::new(&settings),
            only: Only::new(settings.addresses),
            ledger,
            flows: AtomicU64::new(0),
            shed: AtomicU64::new(0),
            evidence: Testimony::default(),
        }
    }

    /// Lets a flow in, or counts that it was turned away: by its port's rules, or for want of room. Who
    /// of its own thread and protocol has to end for it is named.
    pub(super) fn admit(
        &self,
        frontend: &Frontend,
        client: IpAddr,
        home: Home,
        now: u64,
    ) -> Option<(Holding, Vec<Name>)> {
        admit(frontend, client, now).ok()?;
        let entered = self.shares.enter(frontend, client, home, now);
        if entered.is_err() {
            release(frontend, client);
            frontend.standing.refused.fetch_add(1, Relaxed);
            self.shed.fetch_add(1, Relaxed);
        }
        entered.ok()
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
