//! Makes the datapath's tables equal to what is desired.
//!
//! `desired` turns services into table rows, `plan` compares them with what the kernel holds,
//! `apply` carries the difference out through [`Tables`]. All but the last are pure. A packet sees
//! the old state or the new one: backends are written first, the set aside, the frontend last.

mod acl;
mod actual;
mod apply;
mod books;
mod compare;
mod desired;
mod plan;
mod pool;
mod slots;
mod turns;

pub(crate) use acl::{Acl, prefix};
pub(crate) use actual::Actual;
pub(crate) use apply::{Tables, apply};
pub(crate) use books::{Books, Capacity};
pub(crate) use compare::compare;
pub(crate) use desired::{Desired, Ground, OwnAddresses, Routes, Scope, desired};
pub(crate) use plan::Plan;
pub(crate) use slots::Slots;
pub(crate) use turns::Turns;

use std::net::SocketAddr;

use crate::model::{Protocol, Service};

/// A (protocol, port) that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrontendKey {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// The frontends of a service.
pub(crate) fn frontends(service: &Service) -> impl Iterator<Item = FrontendKey> {
    let port = service.port;
    let protocols = service.protocols.each().iter();
    protocols.map(move |&protocol| FrontendKey { protocol, port })
}

impl Scope {
    /// A service's frontends.
    pub(crate) fn of(service: &Service) -> Self {
        Self::Part(frontends(service).collect())
    }
}

/// One instance behind one frontend. The same endpoint behind two frontends is two of these: each
/// can leave without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BackendKey {
    pub(crate) frontend: FrontendKey,
    pub(crate) address: SocketAddr,
}

impl FrontendKey {
    /// Its element of the `frontends` map.
    pub(crate) fn index(self) -> u32 {
        harbor_common::frontend::Frontend::index(self.protocol.into(), self.port)
    }

    /// The frontend of an element of the `frontends` map.
    pub(crate) fn from_index(index: u32) -> Self {
        let (protocol, port) = harbor_common::frontend::Frontend::from_index(index);
        Self {
            protocol: protocol.into(),
            port,
        }
    }
}

impl From<Protocol> for harbor_common::protocol::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => Self::Tcp,
            Protocol::Udp => Self::Udp,
        }
    }
}

impl From<harbor_common::protocol::Protocol> for Protocol {
    fn from(protocol: harbor_common::protocol::Protocol) -> Self {
        match protocol {
            harbor_common::protocol::Protocol::Tcp => Self::Tcp,
            harbor_common::protocol::Protocol::Udp => Self::Udp,
        }
    }
}

#[cfg(test)]
mod tests;
