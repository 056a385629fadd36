//! Ways out of the node: from what the kernel says to what `routes` and `neighbours` should hold, and
//! the difference to what they do. Pure.
//!
//! Whatever is not known for certain is left out, and counted: a wrong way loses packets.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::IpAddr,
};

use harbor_common::{
    addr::Ip,
    maps::{NEIGHBOUR_SLOTS, ROUTE_SLOTS},
    route::{Neighbour, Route},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    effective::{Answer, Tables, compressed},
    policy::{KernelRule, Views},
};
use crate::{
    datapath::interfaces::{Framing, Snapshot},
    reconcile::prefix,
};

/// The kernel's rules, routes and neighbours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KernelRoutes {
    /// In the order in which they are asked; IPv4's first. None at all: they could not be read.
    pub(super) rules: [Vec<KernelRule>; 2],
    pub(super) routes: Vec<KernelRoute>,
    pub(super) neighbours: Vec<KernelNeighbour>,
    /// Neighbours that the kernel has asked for in vain.
    pub(super) failed: BTreeSet<(IpAddr, u32)>,
}

impl KernelRoutes {
    /// The addresses that nobody answers for, though the kernel has asked, and by which interface.
    pub(crate) fn lost(&self) -> impl Iterator<Item = (IpAddr, u32)> {
        self.failed.iter().copied()
    }
}

/// One route of any table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KernelRoute {
    pub(super) prefix: IpNet,
    pub(super) table: u32,
    pub(super) metric: u32,
    /// Any of them will do.
    pub(super) hops: Vec<Hop>,
    /// 0 = the interface's.
    pub(super) mtu: u32,
    /// The kernel made it from an address of the interface.
    pub(super) is_connected: bool,
    pub(super) kind: RouteKind,
}

/// A way to go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) ifindex: u32,
    pub(super) gateway: Option<IpAddr>,
    /// The kernel does not use it now.
    pub(super) is_down: bool,
}

/// What a route makes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteKind {
    /// Sends them on.
    Unicast,
    /// The node keeps them.
    Own,
    /// Refuses them.
    Nowhere,
    /// Has the next table decide.
    Throw,
    /// Sends them on in a way that the programs do not know.
    Odd,
}

/// A neighbour with a hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelNeighbour {
    pub(super) address: IpAddr,
    pub(super) ifindex: u32,
    pub(super) hardware: [u8; 6],
}

/// View, bits of the prefix, and address.
pub(super) type RouteAt = (u32, u32, Ip);

/// What the tables hold, or should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ways {
    pub(super) routes: BTreeMap<RouteAt, Route>,
    /// The first twelve octets of a frame to each neighbour.
    pub(super) neighbours: BTreeMap<Neighbour, [u8; 12]>,
    /// The view of each of the node's addresses, where that is not 0.
    pub(super) views: BTreeMap<IpAddr, u32>,
    /// Why some way that the kernel knows is not among the routes.
    pub(super) gap: Option<String>,
}

impl Ways {
    /// What the tables should hold.
    pub(super) fn of(kernel: &KernelRoutes, snapshot: &Snapshot) -> Self {
        let views = Views::of(&kernel.rules, snapshot.sources());
        let mut ways = Self {
            neighbours: neighbours(kernel, snapshot),
            ..Self::default()
        };
        if kernel.rules.iter().all(Vec::is_empty) {
            ways.gap = Some("the kernel's routes cannot be read".into());
            return ways;
        }
        if views.are_too_many() {
            ways.gap = Some("the node's addresses are routed in too many ways".into());
        }
        ways.add_routes(kernel, snapshot, &views);
        ways.views = views
            .of
            .into_iter()
            .filter(|(_, view)| *view != 0)
            .collect();
        if ways.routes.len() > ROUTE_SLOTS {
            let count = ways.routes.len();
            ways.gap = Some(format!(
                "{count} routes are more than the {ROUTE_SLOTS} that fit"
            ));
            ways.routes.clear();
        }
        ways
    }

    fn add_routes(&mut self, kernel: &KernelRoutes, snapshot: &Snapshot, views: &Views) {
        let routes = merged(&kernel.routes);
        let wholes = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
        for (family, whole) in wholes.into_iter().enumerate() {
            let tables = Tables::of(&routes, family == 0);
            for (number, steps) in (0u32..).zip(&views.steps) {
                let answers = tables.answers(&steps[family], whole).into_iter();
                let said = answers.map(|(at, answer)| {
                    let route = match answer {
                        Answer::Route(place) => way(&routes[place], kernel, snapshot),
                        Answer::Nowhere => Some(Route::default()),
                        Answer::Unknown => None,
                    };
                    (at, route)
                });
                self.add_view(number, compressed(said.collect()));
            }
        }
    }

    fn add_view(&mut self, view: u32, said: BTreeMap<(u8, IpAddr), Option<Route>>) {
        for ((length, network), route) in said {
            let Ok(network) = IpNet::new(network, length) else {
                continue;
            };
            if route.is_none() && self.gap.is_none() {
                self.gap = Some(format!(
                    "the way to {network} depends on more than addresses"
                ));
            }
            let (bits, address) = prefix(&network);
            self.routes
                .insert((view, bits, address), route.unwrap_or_default());
        }
    }

    /// The way of packets with this source to a host, if there is one.
    pub(super) fn find(&self, source: IpAddr, host: IpAddr) -> Option<Route> {
        let view = self.views.get(&source).copied().unwrap_or(0);
        let longest = if host.is_ipv4() { 32 } else { 128 };
        let found = (0..=longest).rev().find_map(|length| {
            let (bits, address) = prefix(&IpNet::new(host, length).ok()?.trunc());
            self.routes.get(&(view, bits, address))
        });
        found.copied().filter(|route| route.ifindex != 0)
    }
}

/// One route a table and prefix: that of the lowest metric, with the next hops of all of that metric.
fn merged(routes: &[KernelRoute]) -> Vec<KernelRoute> {
    let mut best: BTreeMap<(u32, IpNet), KernelRoute> = BTreeMap::new();
    for route in routes {
        match best.entry((route.table, route.prefix.trunc())) {
            Entry::Vacant(place) => {
                place.insert(route.clone());
            }
            Entry::Occupied(mut place) => {
                let held = place.get_mut();
                let leaves_by = |route: &KernelRoute| route.hops.first().map(|hop| hop.ifindex);
                // A network that two interfaces are part of is connected by either.
                let is_one = held.is_connected
                    && (!route.is_connected || leaves_by(held) == leaves_by(route));
                if route.metric < held.metric {
                    *held = route.clone();
                } else if route.metric == held.metric {
                    held.hops.extend(&route.hops);
                }
                held.is_connected &= is_one;
            }
        }
    }
    best.into_values().collect()
}

/// The way by the first next hop that works, as far as the kernel knows.
fn way(route: &KernelRoute, kernel: &KernelRoutes, snapshot: &Snapshot) -> Option<Route> {
    let link = |hop: &Hop| {
        let mut links = snapshot.interfaces.iter();
        links.find(|link| link.index == hop.ifindex && link.is_up)
    };
    let is_failed = |hop: &Hop| {
        let asked = hop.gateway.map(|gateway| (gateway, hop.ifindex));
        asked.is_some_and(|asked| kernel.failed.contains(&asked))
    };
    let usable = || {
        route
            .hops
            .iter()
            .filter(|hop| !hop.is_down && link(hop).is_some())
    };
    let hop = usable()
        .find(|hop| !is_failed(hop))
        .or_else(|| usable().next());
    let Some((hop, link)) = hop.and_then(|hop| Some((hop, link(hop)?))) else {
        return Some(Route::default());
    };
    let is_v4 = route.prefix.addr().is_ipv4();
    if hop
        .gateway
        .is_some_and(|gateway| gateway.is_ipv4() != is_v4)
    {
        return None;
    }
    let leads_by_several = usable().any(|other| other.ifindex != hop.ifindex);
    let is_connected = route.is_connected && hop.gateway.is_none();
    Some(Route {
        gateway: hop.gateway.map(Ip::from).unwrap_or_default(),
        ifindex: hop.ifindex,
        mtu: match route.mtu {
            0 => link.mtu,
            mtu => mtu.min(link.mtu),
        },
        flags: match (leads_by_several, is_connected) {
            (true, _) => Route::SEVERAL,
            (false, true) => Route::CONNECTED,
            (false, false) => 0,
        },
    })
}

fn neighbours(kernel: &KernelRoutes, snapshot: &Snapshot) -> BTreeMap<Neighbour, [u8; 12]> {
    let own = |ifindex: u32| {
        let mut links = snapshot.interfaces.iter();
        let link = links.find(|link| link.index == ifindex)?;
        let has_header = link.framing == Framing::Ethernet;
        (link.is_up && has_header && link.hardware != [0; 6]).then_some(link.hardware)
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
    pub(super) forget_routes: Vec<RouteAt>,
    pub(super) routes: Vec<(RouteAt, Route)>,
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
#[path = "plan_tests.rs"]
mod tests;
