//! Which numbers are free, and in which order they are tried: pure, no look at the host.
//!
//! A request for one protocol takes half-used numbers first: otherwise single requests break up
//! the whole numbers and a request for both starves while hundreds of halves are free.

use std::collections::{BTreeMap, BTreeSet};

use rand::{Rng, seq::SliceRandom};

use crate::model::{PortRange, Protocol, Protocols, Service};

/// What Harbor itself knows about numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers {
    /// Assigned halves, with the service's name.
    pub(crate) assigned: BTreeMap<(Protocol, u16), String>,
    /// Released halves that are not drawn yet.
    pub(crate) resting: BTreeSet<(Protocol, u16)>,
}

/// Why numbers of a range are not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) assigned: usize,
    pub(crate) resting: usize,
}

impl Numbers {
    pub(crate) fn new<'a>(
        services: impl IntoIterator<Item = &'a Service>,
        resting: BTreeSet<(Protocol, u16)>,
    ) -> Self {
        let halves = |service: &'a Service| {
            let each = service.protocols.each().iter();
            each.map(|&protocol| ((protocol, service.port), service.name.clone()))
        };
        let assigned = services.into_iter().flat_map(halves).collect();
        Self { assigned, resting }
    }

    /// The service that has the number in one of these protocols.
    pub(crate) fn owner(&self, protocols: Protocols, port: u16) -> Option<(Protocol, &str)> {
        protocols.each().iter().find_map(|&protocol| {
            self.assigned
                .get(&(protocol, port))
                .map(|name| (protocol, name.as_str()))
        })
    }

    fn is_resting(&self, protocols: Protocols, port: u16) -> bool {
        protocols
            .each()
            .iter()
            .any(|&protocol| self.resting.contains(&(protocol, port)))
    }

    /// Whether the other protocol's half is assigned.
    fn is_half_used(&self, protocols: Protocols, port: u16) -> bool {
        let other = match protocols {
            Protocols::Tcp => Protocol::Udp,
            Protocols::Udp => Protocol::Tcp,
            Protocols::Both => return false,
        };
        self.assigned.contains_key(&(other, port))
    }

    /// Every free number of the range, in the order in which to try them.
    pub(crate) fn candidates(
        &self,
        range: PortRange,
        protocols: Protocols,
        rng: &mut impl Rng,
    ) -> Vec<u16> {
        let free = range.numbers().filter(|&port| {
            self.owner(protocols, port).is_none() && !self.is_resting(protocols, port)
        });
        let (mut half, mut whole): (Vec<u16>, Vec<u16>) =
            free.partition(|&port| self.is_half_used(protocols, port));
        half.shuffle(rng);
        whole.shuffle(rng);
        half.append(&mut whole);
        half
    }

    /// How many numbers of the range these protocols cannot have, and why.
    pub(crate) fn counts(&self, range: PortRange, protocols: Protocols) -> Counts {
        let mut counts = Counts::default();
        for port in range.numbers() {
            if self.owner(protocols, port).is_some() {
                counts.assigned += 1;
            } else if self.is_resting(protocols, port) {
                counts.resting += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn protocols() -> impl Strategy<Value = Protocols> {
        prop_oneof![
            Just(Protocols::Tcp),
            Just(Protocols::Udp),
            Just(Protocols::Both)
        ]
    }

    fn halves() -> impl Strategy<Value = BTreeSet<(Protocol, u16)>> {
        let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp)];
        proptest::collection::btree_set((protocol, 95u16..125), 0..40)
    }

    proptest! {
        #[test]
        fn only_free_numbers_are_drawn_each_once(
            wanted in protocols(), used in halves(), resting in halves(), seed: u64,
        ) {
            let range = PortRange::new(100, 120).unwrap();
            let assigned = used.iter().map(|&half| (half, "x".to_owned())).collect();
            let numbers = Numbers { assigned, resting: resting.clone() };
            let drawn = numbers.candidates(range, wanted, &mut StdRng::seed_from_u64(seed));
            let free = |port: u16| wanted.each().iter()
                .all(|&p| !used.contains(&(p, port)) && !resting.contains(&(p, port)));
            prop_assert_eq!(
                drawn.iter().copied().collect::<BTreeSet<_>>(),
                range.numbers().filter(|&p| free(p)).collect::<BTreeSet<_>>()
            );
            let counts = numbers.counts(range, wanted);
            prop_assert_eq!(drawn.len() + counts.assigned + counts.resting, range.len());
        }

        #[test]
        fn half_used_numbers_come_first(used in halves(), seed: u64) {
            let range = PortRange::new(100, 120).unwrap();
            let assigned = used.iter().map(|&half| (half, "x".to_owned())).collect();
            let numbers = Numbers { assigned, ..Numbers::default() };
            let rng = &mut StdRng::seed_from_u64(seed);
            let drawn = numbers.candidates(range, Protocols::Tcp, rng);
            let half = |port: &u16| used.contains(&(Protocol::Udp, *port));
            let first_whole = drawn.iter().position(|p| !half(p)).unwrap_or(drawn.len());
            prop_assert!(drawn[first_whole..].iter().all(|p| !half(p)));
        }
    }

    #[test]
    fn the_draw_is_random() {
        let range = PortRange::new(35_000, 40_000).unwrap();
        let first = |seed| {
            let rng = &mut StdRng::seed_from_u64(seed);
            Numbers::default().candidates(range, Protocols::Tcp, rng)[0]
        };
        let different: BTreeSet<u16> = (0..20).map(first).collect();
        assert!(different.len() > 15, "{different:?}");
    }
}
