//! What the kernel holds, as the agent read it at start and has kept it since.

use std::{collections::BTreeMap, net::SocketAddrV4};

use harbor_common::{
    addr::Ipv4,
    backend::{Backend, Endpoint},
    frontend::{BackendSet, Frontend},
    protocol::Protocol as Number,
};

use super::{BackendKey, FrontendKey};

/// The contents of every table that the agent writes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Actual {
    /// Own address to roles.
    pub(crate) addresses: BTreeMap<Ipv4, u32>,
    /// Frontends that are served, each with its set in force.
    pub(crate) frontends: BTreeMap<FrontendKey, (Frontend, BackendSet)>,
    /// Backends that are not gone, with their slots.
    pub(crate) backends: BTreeMap<BackendKey, (u32, Backend)>,
    /// Endpoints that are known as backends.
    pub(crate) endpoints: BTreeMap<Endpoint, u32>,
    /// Generation of every backend slot that was ever used.
    pub(crate) generations: BTreeMap<u32, u32>,
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
            address: SocketAddrV4::new(row.address.into(), row.port),
        })
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
}
