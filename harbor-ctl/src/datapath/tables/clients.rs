//! Clients and the flows that they keep, and ports that take no new flows because their organization keeps
//! as many as it may.

use std::{collections::BTreeSet, net::IpAddr, os::fd::AsFd as _};

use aya::maps::{Array, MapData};
use harbor_common::{
    client::ClientKey,
    maps::{CLIENTS, CLOSED},
};

use super::{batch, data, open, set};
use crate::datapath::{
    clock::{monotonic_ns, seconds_ns},
    error::{DatapathError, Tried as _},
    program::pins::Pins,
};

/// How long the datapath believes that a port is closed.
const CLOSED_S: u32 = 5;

/// What a client keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientLoad {
    pub(crate) client: IpAddr,
    /// `None` = at all ports together.
    pub(crate) slot: Option<u32>,
    pub(crate) kept: u64,
}

/// The `clients` and `closed` maps, opened.
pub(crate) struct ClientTable {
    clients: MapData,
    closed: Array<MapData, u64>,
    /// Slots that were closed last.
    are_closed: BTreeSet<u32>,
}

impl ClientTable {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            clients: data(pins, CLIENTS)?,
            closed: open(pins, CLOSED)?,
            are_closed: BTreeSet::new(),
        })
    }

    /// The client that keeps most flows at one port, and the one that keeps most at all ports.
    pub(crate) fn largest(&self) -> Result<[Option<ClientLoad>; 2], DatapathError> {
        let mut largest: [Option<ClientLoad>; 2] = [None, None];
        let read = batch::for_each(self.clients.fd().as_fd(), |key: &ClientKey, kept: &u64| {
            let slot = (key.frontend != ClientKey::ALL_PORTS).then_some(key.frontend);
            let best = &mut largest[usize::from(slot.is_none())];
            if *kept > best.map_or(0, |best| best.kept) {
                *best = Some(ClientLoad {
                    client: key.network.into(),
                    slot,
                    kept: *kept,
                });
            }
        });
        read.tried(|| format!("cannot read {CLIENTS}"))?;
        Ok(largest)
    }

    /// Has these frontend slots take no new flows for the next seconds, and no others.
    pub(crate) fn close(&mut self, slots: BTreeSet<u32>) -> Result<(), DatapathError> {
        let until_ns = monotonic_ns() + seconds_ns(CLOSED_S);
        for slot in &slots {
            set(&mut self.closed, (CLOSED, *slot), &until_ns)?;
        }
        for slot in self.are_closed.difference(&slots) {
            set(&mut self.closed, (CLOSED, *slot), &0)?;
        }
        self.are_closed = slots;
        Ok(())
    }
}
