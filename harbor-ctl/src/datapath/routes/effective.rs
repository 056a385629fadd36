//! One trie from several tables: what all the steps of a view together say of every prefix. Pure.
//!
//! The kernel asks table after table and takes the first answer, and within a table the longest
//! prefix; a trie knows only the longest prefix. So each prefix of any table gets the answer that the
//! steps give to the addresses in it, and those that say what a wider one says are left out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use ipnet::IpNet;

use super::{
    plan::{KernelRoute, RouteKind},
    policy::{Look, Step},
};

/// What becomes of packets to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This route, by its place in the list.
    Route(usize),
    /// Nowhere from here, or to the node itself.
    Nowhere,
    /// Somewhere that is not known.
    Unknown,
}

/// The tables of one family.
pub(super) struct Tables<'a> {
    routes: &'a [KernelRoute],
    /// By table and prefix, the place of the route that counts.
    places: HashMap<u32, HashMap<IpNet, usize>>,
    /// The lengths of a table's prefixes, longest first.
    lengths: HashMap<u32, Vec<u8>>,
}

impl<'a> Tables<'a> {
    /// Of routes with one route a table and prefix.
    pub(super) fn of(routes: &'a [KernelRoute], is_v4: bool) -> Self {
        let mut places: HashMap<u32, HashMap<IpNet, usize>> = HashMap::new();
        for (place, route) in routes.iter().enumerate() {
            if route.prefix.addr().is_ipv4() == is_v4 {
                places
                    .entry(route.table)
                    .or_default()
                    .insert(route.prefix.trunc(), place);
            }
        }
        let lengths = places.iter().map(|(table, prefixes)| {
            let lengths: BTreeSet<u8> = prefixes.keys().map(IpNet::prefix_len).collect();
            (*table, lengths.into_iter().rev().collect())
        });
        Self {
            lengths: lengths.collect(),
            routes,
            places,
        }
    }

    /// What the steps say of every prefix; the last word is the whole family's.
    pub(super) fn answers(&self, steps: &[Step], whole: IpNet) -> BTreeMap<(u8, IpAddr), Answer> {
        let mut prefixes = BTreeSet::from([(0, whole.addr())]);
        for step in steps {
            if let Some(within) = step.within {
                prefixes.insert((within.prefix_len(), within.network()));
            }
            if let Look::Table { table, .. } = step.look
                && let Some(found) = self.places.get(&table)
            {
                let inside = found.keys().filter(|prefix| match step.within {
                    Some(within) => within.contains(*prefix),
                    None => true,
                });
                prefixes.extend(inside.map(|prefix| (prefix.prefix_len(), prefix.network())));
            }
        }
        let prefixes = prefixes.into_iter().filter_map(|(length, network)| {
            let prefix = IpNet::new(network, length).ok()?;
            Some(((length, network), self.answer(steps, prefix)))
        });
        prefixes.collect()
    }

    /// What the steps say of the addresses of a prefix that lie in no longer one.
    fn answer(&self, steps: &[Step], prefix: IpNet) -> Answer {
        for step in steps {
            if step.within.is_some_and(|within| !within.contains(&prefix)) {
                continue;
            }
            match step.look {
                Look::Refuse => return Answer::Nowhere,
                Look::Unknown => return Answer::Unknown,
                Look::Table { table, suppressed } => {
                    if let Some(answer) = self.look(table, suppressed, prefix) {
                        return answer;
                    }
                }
            }
        }
        Answer::Nowhere
    }

    /// A table's answer; `None` sends on to the next step.
    fn look(&self, table: u32, suppressed: Option<u32>, prefix: IpNet) -> Option<Answer> {
        let prefixes = self.places.get(&table)?;
        let lengths = self.lengths.get(&table)?.iter();
        let place = lengths
            .filter(|length| **length <= prefix.prefix_len())
            .find_map(|length| prefixes.get(&IpNet::new(prefix.addr(), *length).ok()?.trunc()))?;
        let route = self.routes.get(*place)?;
        if suppressed.is_some_and(|most| u32::from(route.prefix.prefix_len()) <= most) {
            return None;
        }
        match route.kind {
            RouteKind::Throw => None,
            RouteKind::Unicast => Some(Answer::Route(*place)),
            RouteKind::Own | RouteKind::Nowhere => Some(Answer::Nowhere),
            RouteKind::Odd => Some(Answer::Unknown),
        }
    }
}

/// Leaves out what says the same as the next wider prefix.
pub(super) fn compressed<T: PartialEq>(
    said: BTreeMap<(u8, IpAddr), T>,
) -> BTreeMap<(u8, IpAddr), T> {
    let mut kept: BTreeMap<(u8, IpAddr), T> = BTreeMap::new();
    let mut lengths: Vec<u8> = Vec::new();
    // From the widest on.
    for ((length, network), value) in said {
        let wider = lengths.iter().rev().filter(|wider| **wider < length);
        let wider = wider.filter_map(|wider| Some((*wider, IpNet::new(network, *wider).ok()?)));
        let above = wider
            .map(|(wider, wide)| (wider, wide.network()))
            .find_map(|wider| kept.get(&wider));
        if above != Some(&value) {
            kept.insert((length, network), value);
            if lengths.last() != Some(&length) {
                lengths.push(length);
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(table: u32, prefix: &str, kind: RouteKind) -> KernelRoute {
        KernelRoute {
            is_connected: false,
            prefix: prefix.parse().unwrap(),
            table,
            metric: 0,
            hops: Vec::new(),
            mtu: 0,
            kind,
        }
    }

    fn table(table: u32, suppressed: Option<u32>) -> Step {
        Step {
            within: None,
            look: Look::Table { table, suppressed },
        }
    }

    fn answers(routes: &[KernelRoute], steps: &[Step]) -> Vec<(String, Answer)> {
        let whole = "0.0.0.0/0".parse().unwrap();
        let found = compressed(Tables::of(routes, true).answers(steps, whole));
        let shown = found
            .into_iter()
            .map(|((l, n), answer)| (format!("{n}/{l}"), answer));
        shown.collect()
    }

    #[test]
    fn an_earlier_table_wins_with_a_shorter_prefix() {
        let routes = [
            route(1, "10.0.0.0/8", RouteKind::Unicast),
            route(2, "10.1.0.0/16", RouteKind::Unicast),
            route(2, "0.0.0.0/0", RouteKind::Unicast),
        ];
        let found = answers(&routes, &[table(1, None), table(2, None)]);
        let expected = [
            ("0.0.0.0/0", Answer::Route(2)),
            ("10.0.0.0/8", Answer::Route(0)),
        ];
        assert_eq!(
            found,
            expected.map(|(prefix, answer)| (prefix.to_owned(), answer))
        );
    }

    #[test]
    fn a_suppressed_default_and_a_thrown_prefix_are_left_to_the_next_table() {
        let routes = [
            route(254, "0.0.0.0/0", RouteKind::Unicast),
            route(254, "10.0.0.0/8", RouteKind::Unicast),
            route(254, "10.9.0.0/16", RouteKind::Throw),
            route(7, "0.0.0.0/0", RouteKind::Unicast),
        ];
        let found = answers(&routes, &[table(254, Some(0)), table(7, None)]);
        let expected = [
            ("0.0.0.0/0", Answer::Route(3)),
            ("10.0.0.0/8", Answer::Route(1)),
            ("10.9.0.0/16", Answer::Route(3)),
        ];
        assert_eq!(
            found,
            expected.map(|(prefix, answer)| (prefix.to_owned(), answer))
        );
    }

    #[test]
    fn a_rule_for_some_destinations_speaks_of_those_alone() {
        let routes = [
            route(7, "0.0.0.0/0", RouteKind::Unicast),
            route(254, "0.0.0.0/0", RouteKind::Unicast),
        ];
        let within = Step {
            within: Some("192.0.2.0/24".parse().unwrap()),
            ..table(7, None)
        };
        let found = answers(&routes, &[within, table(254, None)]);
        let expected = [
            ("0.0.0.0/0", Answer::Route(1)),
            ("192.0.2.0/24", Answer::Route(0)),
        ];
        assert_eq!(
            found,
            expected.map(|(prefix, answer)| (prefix.to_owned(), answer))
        );
    }

    #[test]
    fn what_comes_behind_an_unknown_rule_is_unknown() {
        let routes = [route(255, "192.0.2.1/32", RouteKind::Own)];
        let unknown = Step {
            within: None,
            look: Look::Unknown,
        };
        let found = answers(&routes, &[table(255, None), unknown]);
        let expected = [
            ("0.0.0.0/0", Answer::Unknown),
            ("192.0.2.1/32", Answer::Nowhere),
        ];
        assert_eq!(
            found,
            expected.map(|(prefix, answer)| (prefix.to_owned(), answer))
        );
    }
}
