//! Ways out of the node: from what the kernel says to what `routes` and `neighbours` should hold, and
//! the difference to what they do. Pure.
//!
//! Whatever is not plain is left to the kernel: a wrong way loses packets, a missing one costs 80 ns.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, Ipv4Addr},
};

use harbor_common::{
    addr::Ip,
    maps::{NEIGHBOUR_SLOTS, ROUTE_SLOTS},
    route::{Neighbour, Route},
};
use ipnet::IpNet;

use super::Snapshot;
use crate::reconcile::prefix;

const TABLE_DEFAULT: u32 = 253;
const TABLE_MAIN: u32 = 254;
const TABLE_LOCAL: u32 = 255;

/// The kernel's rules, routes and neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelWays {
    /// Whether there are rules beyond those of every node, which could choose any table; IPv4's
    /// first.
    pub(super) has_own_rules: [bool; 2],
    pub(super) routes: Vec<KernelRoute>,
    pub(super) neighbours: Vec<KernelNeighbour>,
}

/// One route of any table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) prefix: IpNet,
    pub(super) table: u32,
    pub(super) metric: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) ifindex: u32,
    /// 0 = the interface's.
    pub(super) mtu: u32,
    /// Unicast, one way, of one family, for every packet.
    pub(super) is_plain: bool,
}

/// A neighbour with a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelNeighbour {
    pub(super) address: IpAddr,
    pub(super) ifindex: u32,
    pub(super) hardware: [u8; 6],
}

/// What the tables hold, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    /// By bits of the prefix and address.
    pub(super) routes: BTreeMap<(u32, Ip), Route>,
    /// The first twelve octets of a frame to each neighbour.
    pub(super) neighbours: BTreeMap<Neighbour, [u8; 12]>,
}

impl Ways {
    /// What the tables should hold.
    pub(super) fn of(kernel: &KernelWays, snapshot: &Snapshot) -> Self {
        let mut ways = Self {
            routes: routes(kernel, snapshot),
            neighbours: neighbours(kernel, snapshot),
        };
        if ways.routes.len() > ROUTE_SLOTS {
            ways.routes.clear();
        }
        ways
    }
}

fn routes(kernel: &KernelWays, snapshot: &Snapshot) -> BTreeMap<(u32, Ip), Route> {
    let is_asked =
        |route: &&KernelRoute| matches!(route.table, TABLE_DEFAULT | TABLE_MAIN | TABLE_LOCAL);
    let family = |prefix: &IpNet| usize::from(matches!(prefix, IpNet::V6(_)));
    let mut is_left = kernel.has_own_rules;
    for route in &kernel.routes {
        // Asked only where main has no answer, which one trie cannot say.
        is_left[family(&route.prefix)] |= route.table == TABLE_DEFAULT;
    }
    let local: Vec<&IpNet> = kernel
        .routes
        .iter()
        .filter(|route| route.table == TABLE_LOCAL)
        .map(|route| &route.prefix)
        .collect();
    let mut best: BTreeMap<(u32, Ip), (u32, Route)> = BTreeMap::new();
    let kept = kernel.routes.iter().filter(is_asked);
    for route in kept.filter(|route| !is_left[family(&route.prefix)]) {
        // The table `local` is asked first, whatever the length of the prefix.
        let is_shadowed = route.table == TABLE_MAIN
            && local.iter().any(|network| network.contains(&route.prefix));
        let value = match route.is_plain && route.table == TABLE_MAIN && !is_shadowed {
            true => way(route, snapshot),
            false => Route::default(),
        };
        match best.entry(prefix(&route.prefix)) {
            Entry::Vacant(place) => {
                place.insert((route.metric, value));
            }
            Entry::Occupied(mut place) => {
                let (metric, held) = *place.get();
                if route.metric == metric && held != value {
                    // Several ways.
                    place.insert((metric, Route::default()));
                } else if route.metric < metric {
                    place.insert((route.metric, value));
                }
            }
        }
    }
    // IPv4 addresses are a part of the trie's IPv6 addresses: no IPv6 route may answer for them.
    let all_v4 = (96, Ip::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    best.entry(all_v4).or_default();
    let ways = best.into_iter();
    ways.map(|(prefix, (_, route))| (prefix, route)).collect()
}

fn way(route: &KernelRoute, snapshot: &Snapshot) -> Route {
    let mut links = snapshot.interfaces.iter();
    match links.find(|link| link.index == route.ifindex) {
        Some(link) if link.is_up => Route {
            gateway: route.gateway.map(Ip::from).unwrap_or_default(),
            ifindex: route.ifindex,
            mtu: match route.mtu {
                0 => link.mtu,
                mtu => mtu.min(link.mtu),
            },
        },
        _ => Route::default(),
    }
}

fn neighbours(kernel: &KernelWays, snapshot: &Snapshot) -> BTreeMap<Neighbour, [u8; 12]> {
    let own = |ifindex: u32| {
        let mut links = snapshot.interfaces.iter();
        let link = links.find(|link| link.index == ifindex)?;
        (link.is_up && link.is_ethernet && link.hardware != [0; 6]).then_some(link.hardware)
    };
    let known = kernel.neighbours.iter().filter_map(|neighbour| {
        let mut hardware = [0; 12];
        hardware[..6].copy_from_slice(&neighbour.hardware);
        hardware[6..].copy_from_slice(&own(neighbour.ifindex)?);
        let key = Neighbour {
            address: neighbour.address.into(),
            ifindex: neighbour.ifindex,
        };
        Some((key, hardware))
    });
    known.take(NEIGHBOUR_SLOTS).collect()
}

/// The difference, in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WayPlan {
    pub(super) forget_neighbours: Vec<Neighbour>,
    pub(super) neighbours: Vec<(Neighbour, [u8; 12])>,
    pub(super) forget_routes: Vec<(u32, Ip)>,
    pub(super) routes: Vec<((u32, Ip), Route)>,
}

impl WayPlan {
    /// What leads from `held` to `wanted`.
    pub(super) fn between(held: &Ways, wanted: &Ways) -> Self {
        let changed = |key: &Neighbour, value: &[u8; 12]| held.neighbours.get(key) != Some(value);
        let gone = |key: &&Neighbour| !wanted.neighbours.contains_key(key);
        Self {
            forget_neighbours: held.neighbours.keys().filter(gone).copied().collect(),
            neighbours: wanted
                .neighbours
                .iter()
                .filter(|(key, value)| changed(key, value))
                .map(|(key, value)| (*key, *value))
                .collect(),
            forget_routes: held
                .routes
                .keys()
                .filter(|key| !wanted.routes.contains_key(key))
                .copied()
                .collect(),
            routes: wanted
                .routes
                .iter()
                .filter(|(key, value)| held.routes.get(key) != Some(value))
                .map(|(key, value)| (*key, *value))
                .collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
#[path = "ways_tests.rs"]
mod tests;
