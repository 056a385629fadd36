//! The range: which of its numbers are assigned, resting, held by others, and free.

use std::collections::BTreeSet;

use super::Snapshot;
use crate::{
    api::{HeldPort, NamedPort, RangeCounts, RangeReport},
    model::{Protocol, Service},
};

impl Snapshot {
    pub(crate) fn range_report(&self) -> RangeReport {
        let RangeCountsOf { tcp, udp } = self.range_counts();
        let outside = self
            .services
            .iter()
            .filter(|s| !self.range.contains(s.port));
        let held = |(key, holder): (&(Protocol, u16), &_)| HeldPort {
            port: key.1,
            protocol: key.0,
            holder: format!("{holder}"),
        };
        RangeReport {
            range: self.range.to_string(),
            numbers: self.range.len(),
            tcp,
            udp,
            outside: outside.map(|service| named(service)).collect(),
            held: self
                .held
                .iter()
                .map(|(k, h): (_, &crate::allocator::Holder)| held((k, h)))
                .collect(),
        }
    }

    fn range_counts(&self) -> RangeCountsOf {
        let count = |protocol: Protocol| {
            let mut counts = RangeCounts {
                free: 0,
                assigned: 0,
                resting: 0,
                held: 0,
            };
            let services = self.services.iter();
            let own = services.filter(|s| s.protocols.contains(protocol));
            // Numbers that are served and that nobody knows by name are not free.
            let emptied = self.condition.emptied.iter();
            let nameless = emptied.flat_map(|emptied| &emptied.unnamed);
            let nameless = nameless.filter(|(of, _)| *of == protocol);
            let nameless = nameless.map(|(_, port)| *port);
            let assigned: BTreeSet<u16> = own.map(|s| s.port).chain(nameless).collect();
            for port in self.range.numbers() {
                if assigned.contains(&port) {
                    counts.assigned += 1;
                } else if self.resting.contains(&(protocol, port)) {
                    counts.resting += 1;
                } else if self.held.contains_key(&(protocol, port)) {
                    counts.held += 1;
                } else {
                    counts.free += 1;
                }
            }
            counts
        };
        RangeCountsOf {
            tcp: count(Protocol::Tcp),
            udp: count(Protocol::Udp),
        }
    }
}

struct RangeCountsOf {
    tcp: RangeCounts,
    udp: RangeCounts,
}

pub(super) fn named(service: &Service) -> NamedPort {
    let protocols = service.protocols.each().to_vec();
    NamedPort {
        port: service.port,
        protocols,
        name: service.name.clone(),
    }
}
