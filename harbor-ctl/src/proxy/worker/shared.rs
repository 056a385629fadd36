//! What all workers share: settings, the ledger of descriptors, and what they have to tell.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use super::{descriptors::Ledger, poll::Name, timeouts::Patience};
use crate::{
    model::{Doubt, Evidence, Suspect, Testimony, Witness},
    proxy::{
        flows::{
            Home,
            shares::{Holding, Shares},
        },
        ports::{addresses::Only, socket::Key},
        select::{
            backend::Backend,
            frontend::Frontend,
            limits::{admit, release},
        },
        settings::ProxySettings,
    },
};

/// Shared by the proxy's threads.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) shares: Arc<Shares>,
    pub(crate) patience: Patience,
    pub(crate) only: Only,
    pub(crate) ledger: Arc<Ledger>,
    /// Flows now, all ports and both protocols.
    pub(crate) flows: AtomicU64,
    /// Clients turned away for want of room.
    pub(crate) shed: AtomicU64,
    evidence: Testimony,
}

impl Common {
    pub(crate) fn new(settings: ProxySettings, ledger: Arc<Ledger>) -> Self {
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
    pub(crate) fn admit(
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
    pub(crate) fn doubt(&self, key: Key, backend: &Backend, doubt: Doubt, witness: Witness) {
        backend.doubt();
        self.testify(key, backend, witness, Err(doubt));
    }

    /// Notes that a backend has taken a flow.
    pub(crate) fn trust(&self, key: Key, backend: &Backend) {
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
    pub(crate) fn take_evidence(&self) -> Vec<Evidence> {
        self.evidence.take()
    }

    /// Counts a flow that `admit` has let in.
    pub(crate) fn begin(&self, frontend: &Frontend) {
        self.flows.fetch_add(1, Relaxed);
        frontend.standing.load.flows_total.fetch_add(1, Relaxed);
    }

    /// Takes back what `begin` and `admit` have counted as there now.
    pub(crate) fn end(&self, frontend: &Frontend, client: IpAddr) {
        self.flows.fetch_sub(1, Relaxed);
        release(frontend, client);
    }
}

/// The address that `rustix` has read, as people write it.
pub(crate) fn read_address(address: rustix::net::SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => crate::proxy::udp::datagrams::plain(v6),
    })
}

/// Whether an address is one of this host's own.
pub(crate) fn is_own(address: IpAddr) -> bool {
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
pub(crate) fn unknown(port: u16) -> SocketAddr {
    (std::net::Ipv6Addr::UNSPECIFIED, port).into()
}
