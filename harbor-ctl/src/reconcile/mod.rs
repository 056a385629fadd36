//! Makes the datapath's tables equal to what is desired.
//!
//! `desired` turns services into table rows, `plan` compares them with what the kernel holds,
//! `apply` carries the difference out through [`Tables`]. All but the last are pure. A packet sees
//! the old state or the new one: backends are written first, the set aside, the frontend last.

mod acl;
mod actual;
mod apply;
mod compare;
mod desired;
mod keys;
mod plan;
mod pool;
mod slots;
mod table_mirror;
mod turns;

pub(crate) use acl::{Acl, prefix};
pub(crate) use actual::Actual;
pub(crate) use apply::{Tables, apply};
pub(crate) use compare::compare;
pub(crate) use desired::{Desired, HostView, OwnAddresses, Routes, Scope, desired};
pub(crate) use plan::Plan;
pub(crate) use table_mirror::{Capacity, TableMirror};

use crate::model::{Protocol, Service};

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

pub(crate) use keys::{BackendKey, FrontendKey};
