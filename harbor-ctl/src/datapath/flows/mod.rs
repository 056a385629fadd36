//! The flow tables: `cursor` reads flows, `end` finds those that are over and has them ended.
//!
//! A table may hold millions: everything here goes through it in steps of some thousand entries, and
//! keeps nothing of a step that is done. Only the kernel side deletes.

pub(super) mod backend_failures;
mod cursor;
mod end;
pub(super) mod expiry;
pub(super) mod export;
pub(super) mod pressure;

use std::{
    net::{IpAddr, SocketAddr},
    os::fd::AsFd as _,
};

use aya::{
    Pod,
    maps::{HashMap, MapData},
};
use harbor_common::{
    addr::{Family, Ipv4, Ipv6},
    flow::{Flow, FlowKey},
    maps::{FLOWS, FLOWS6},
    protocol::Protocol as Number,
};

use super::{
    error::{DatapathError, Tried as _},
    program::{ENTRIES_PER_FLOW, pins::Pins},
    tables::{
        batch::{self, Place},
        data, open,
    },
};
use crate::model::FlowEnds;

pub(crate) use cursor::FlowCursor;
pub(crate) use end::Pass;

/// The flow tables of both families, opened.
#[derive(Debug)]
pub(crate) struct FlowTables {
    v4: FlowTable<Ipv4>,
    v6: FlowTable<Ipv6>,
}

/// The pinned flow table of one family, opened.
#[derive(Debug)]
struct FlowTable<A: Pod> {
    name: &'static str,
    data: MapData,
    map: HashMap<MapData, FlowKey<A>, Flow<A>>,
}

/// What a flow makes of a datagram's ends.
pub(super) struct Translated {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// From the backend to the client.
    pub(super) is_reply: bool,
}

/// An address of one family, as tables and people have it.
pub(super) trait Octets: Family + Into<Self::Standard> {
    type Standard: Into<IpAddr>;

    /// As [`Expired`](harbor_common::flow::Expired) holds it: IPv4 in the last four octets.
    fn widened(self) -> Ipv6;
}

impl Octets for Ipv4 {
    type Standard = std::net::Ipv4Addr;

    fn widened(self) -> Ipv6 {
        let mut octets = [0; 16];
        octets[12..].copy_from_slice(&self.octets);
        Ipv6 { octets }
    }
}

impl Octets for Ipv6 {
    type Standard = std::net::Ipv6Addr;

    fn widened(self) -> Self {
        self
    }
}

impl FlowTables {
    pub(crate) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            v4: FlowTable::open(pins, FLOWS)?,
            v6: FlowTable::open(pins, FLOWS6)?,
        })
    }

    /// How many flows of one family there is room for: pinned tables keep their size.
    pub(crate) fn capacity(&self) -> Result<u32, DatapathError> {
        let info = self
            .v4
            .data
            .info()
            .tried(|| format!("cannot read {FLOWS}"))?;
        Ok(info.max_entries() / ENTRIES_PER_FLOW)
    }

    /// What becomes of the ends of a datagram that belongs to a flow.
    pub(super) fn translate(&self, from: SocketAddr, to: SocketAddr) -> Option<Translated> {
        match from {
            SocketAddr::V4(_) => self.v4.translate(from, to),
            SocketAddr::V6(_) => self.v6.translate(from, to),
        }
    }
}

impl<A: Octets + Pod + std::hash::Hash> FlowTable<A>
where
    FlowKey<A>: Pod,
    Flow<A>: Pod,
{
    fn open(pins: &Pins, name: &'static str) -> Result<Self, DatapathError> {
        Ok(Self {
            name,
            data: data(pins, name)?,
            map: open(pins, name)?,
        })
    }

    fn translate(&self, from: SocketAddr, to: SocketAddr) -> Option<Translated> {
        let key = FlowKey {
            source: A::of(&from.ip().into()),
            destination: A::of(&to.ip().into()),
            source_port: from.port(),
            destination_port: to.port(),
            protocol: Number::Udp.number(),
        };
        let flow = self.map.get(&key, 0).ok()?;
        let mut to = at(flow.destination, flow.destination_port);
        if let SocketAddr::V6(v6) = &mut to
            && v6.ip().is_unicast_link_local()
        {
            v6.set_scope_id(flow.ifindex);
        }
        (flow.word & Flow::<A>::DEAD == 0).then(|| Translated {
            from: at(flow.source, flow.source_port),
            to,
            is_reply: flow.direction == Flow::<A>::REPLY,
        })
    }

    /// Visits the next entries.
    fn step(
        &self,
        place: &mut Place,
        visit: impl FnMut(&FlowKey<A>, &Flow<A>),
    ) -> Result<(), DatapathError> {
        batch::step(self.data.fd().as_fd(), place, visit)
            .tried(|| format!("cannot read {}", self.name))
    }

    /// The other entry of the same flow.
    fn other(&self, key: &FlowKey<A>, flow: &Flow<A>) -> Option<Flow<A>> {
        let other = self.map.get(&flow.opposite_key(key.protocol), 0).ok();
        let cookie = |flow: &Flow<A>| Flow::<A>::cookie(flow.word);
        other.filter(|other| cookie(other) == cookie(flow))
    }
}

fn at<A: Octets>(address: A, port: u16) -> SocketAddr {
    SocketAddr::new(address.into().into(), port)
}

/// Between whom a flow is, by its forward entry; `None` for any other entry.
fn ends<A: Octets>(key: &FlowKey<A>, flow: &Flow<A>) -> Option<FlowEnds> {
    if flow.direction != Flow::<A>::FORWARD {
        return None;
    }
    Some(FlowEnds {
        protocol: Number::from_number(key.protocol)?.into(),
        client: at(key.source, key.source_port),
        frontend: at(key.destination, key.destination_port),
        backend: at(flow.destination, flow.destination_port),
    })
}
