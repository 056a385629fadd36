//! Translates services, routes and own addresses into table rows. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use harbor_common::{
    addr::{Address, Ip},
    backend::{Backend as Row, Endpoint, SOURCE_ADDRESSES, Sources},
    frontend::{Limits, Policy as PolicyNumber, SET_BACKENDS},
};

use super::{
    acl::Acl,
    keys::{BackendKey, FrontendKey},
};
use crate::model::{
    AllDown, Backend, BackendState, Doubt, OwnShare, Policy, PortSettings, Protocol, Route,
    Service, Suspect, takers,
};

/// The node's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnAddresses {
    /// Those on which clients reach ports.
    pub(crate) public: BTreeSet<IpAddr>,
    /// All that the host has.
    pub(crate) local: BTreeSet<IpAddr>,
    /// More addresses that translated packets may carry; those that the host has not are left out.
    pub(crate) sources: Vec<IpAddr>,
    /// By which view of the routes packets with this source go, where that is not 0.
    pub(crate) views: BTreeMap<IpAddr, u32>,
    /// Shares of pools that the host may have: the programs know their addresses before they are here.
    pub(crate) shares: Vec<OwnShare>,
}

/// The way to each backend's host; hosts without a route are missing.
pub(crate) type Routes = BTreeMap<IpAddr, Route>;

/// Rows as the tables should hold them; slots and generations are the plan's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Desired {
    /// Nothing is said of frontends outside, nor of their backends.
    pub(crate) scope: Scope,
    pub(crate) addresses: BTreeMap<Ip, u32>,
    pub(crate) frontends: BTreeMap<FrontendKey, DesiredFrontend>,
    pub(crate) backends: BTreeMap<BackendKey, DesiredBackend>,
    /// Backends that cannot be reached now: they take no new flows, and what the tables hold of
    /// them stays, because a route that comes back must find their flows alive.
    pub(crate) unrouted: BTreeSet<BackendKey>,
}

/// Of which frontends something is desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scope {
    /// All: what is not desired is to end.
    #[default]
    Whole,
    /// These: a change of one port must not cost what all ports cost.
    Part(BTreeSet<FrontendKey>),
}

/// A backend's row without generation and list of sources, and that list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DesiredBackend {
    pub(crate) row: Row,
    /// The same list for all backends on one way.
    pub(crate) sources: Arc<Sources>,
}

/// What a frontend does with new flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DesiredFrontend {
    pub(crate) policy: PolicyNumber,
    /// Without the number of the list.
    pub(crate) limits: Limits,
    pub(crate) acl: Acl,
    /// The backends that take its new flows, in order, with their weights; IPv4's first.
    pub(crate) takers: [Vec<(BackendKey, u8)>; 2],
    /// Whether the proxy takes the new flows of a family, because the programs have no way to one of
    /// those backends: two engines that each know a part would not share fairly.
    pub(crate) handed: [bool; 2],
}

/// What a packet's way depends on besides services.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostView<'a> {
    pub(crate) routes: &'a Routes,
    pub(crate) own: &'a OwnAddresses,
    pub(crate) all_down: AllDown,
    /// Backends that new flows avoid while others can take them, and why.
    pub(crate) ejected: &'a BTreeMap<Suspect, Doubt>,
}

/// Lists of translation addresses, by the source of a way.
type Lists = BTreeMap<IpAddr, Arc<Sources>>;

/// The tables that serve these services.
pub(crate) fn desired<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    scope: Scope,
    ground: HostView<'_>,
) -> Desired {
    let HostView { routes, own, .. } = ground;
    let mut desired = Desired {
        scope,
        ..Desired::default()
    };
    let mut lists = Lists::new();
    for route in routes.values() {
        let list = lists.entry(route.source);
        list.or_insert_with(|| Arc::new(sources(route, own)));
    }
    for service in services {
        let protocols = service.protocols.each().iter();
        for protocol in protocols.filter(|protocol| !service.needs_proxy(**protocol)) {
            add_frontend(&mut desired, service, *protocol, (ground, &lists));
        }
    }
    let mut grant = |address: IpAddr, role| {
        let view = own.views.get(&address).copied().unwrap_or(0);
        let granted = role | view << Address::VIEW_SHIFT;
        *desired.addresses.entry(address.into()).or_insert(0) |= granted;
    };
    let more = own.sources.iter().filter(|s| own.local.contains(s));
    more.for_each(|address| grant(*address, Address::TRANSLATION | Address::LOCAL));
    own.local
        .iter()
        .for_each(|address| grant(*address, Address::LOCAL));
    own.public
        .iter()
        .for_each(|address| grant(*address, Address::PUBLIC | Address::LOCAL));
    routes
        .values()
        .for_each(|route| grant(route.source, Address::TRANSLATION | Address::LOCAL));
    for share in &own.shares {
        let number = share.number << Address::SHARE_SHIFT;
        let public = share.public.iter();
        public.for_each(|address| grant(*address, Address::PUBLIC | number));
        let translation = share.translation.iter();
        translation.for_each(|address| grant(*address, Address::TRANSLATION | number));
    }
    desired
}

fn add_frontend(
    desired: &mut Desired,
    service: &Service,
    protocol: Protocol,
    (ground, lists): (HostView<'_>, &Lists),
) {
    let HostView {
        routes, ejected, ..
    } = ground;
    let key = FrontendKey {
        protocol,
        port: service.port,
    };
    let taking = taking(service, ground);
    let (mut takers, mut handed) = ([Vec::new(), Vec::new()], [false; 2]);
    let there = service.backends.iter();
    for backend in there.filter(|backend| backend.state != BackendState::Removed) {
        let backend_key = BackendKey {
            frontend: key,
            address: backend.address,
        };
        let Some(route) = routes.get(&backend.address.ip()) else {
            desired.unrouted.insert(backend_key);
            continue;
        };
        let family = family(backend.address.ip());
        let takes = taking[family]
            .iter()
            .any(|taker| std::ptr::eq(*taker, backend));
        let doubt = ejected.get(&Suspect {
            protocol,
            port: service.port,
            address: backend.address,
        });
        let has_others = !taking[family].is_empty();
        let wanted = DesiredBackend {
            row: row(
                backend_key,
                state(takes, doubt.copied(), backend, has_others),
                route,
            ),
            sources: Arc::clone(&lists[&route.source]),
        };
        desired.backends.insert(backend_key, wanted);
        if takes {
            handed[family] |= route.is_handed;
            takers[family].push((backend_key, backend.weight.max(1)));
        }
    }
    takers
        .iter_mut()
        .for_each(|takers| takers.truncate(SET_BACKENDS));
    let (acl, acl_default) = Acl::of(&service.settings);
    let wanted = DesiredFrontend {
        policy: policy(service.policy(protocol)),
        limits: limits(&service.settings, protocol, acl_default),
        acl,
        takers,
        handed,
    };
    desired.frontends.insert(key, wanted);
}

/// The backends that take a service's new flows, IPv4's first.
fn taking<'a>(service: &'a Service, ground: HostView<'_>) -> [Vec<&'a Backend>; 2] {
    [true, false].map(|is_v4| {
        let is_reachable = |backend: &&Backend| {
            backend.address.is_ipv4() == is_v4 && ground.routes.contains_key(&backend.address.ip())
        };
        let reachable: Vec<&Backend> = service.backends.iter().filter(is_reachable).collect();
        match service.draining {
            true => Vec::new(),
            false => takers(&reachable, ground.all_down),
        }
    })
}

/// The state of a backend's row.
fn state(takes: bool, doubt: Option<Doubt>, backend: &Backend, has_others: bool) -> u32 {
    match takes {
        // Nobody is there: UDP flows would go nowhere for ever, and TCP's end by themselves.
        true if doubt == Some(Doubt::NoNeighbour) => Row::UNHEALTHY,
        true if doubt.is_some() => Row::EJECTED,
        true => Row::ACTIVE,
        // Its UDP flows move, as long as they find somebody else.
        false if backend.failing.is_some() && has_others => Row::UNHEALTHY,
        false => Row::DRAINING,
    }
}

/// Where an address's family has its half of a frontend's sets.
pub(super) fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

fn policy(policy: Policy) -> PolicyNumber {
    match policy {
        Policy::RoundRobin => PolicyNumber::RoundRobin,
        Policy::First => PolicyNumber::First,
        Policy::SourceHash => PolicyNumber::SourceHash,
        Policy::LeastFlows => PolicyNumber::LeastFlows,
    }
}

fn limits(settings: &PortSettings, protocol: Protocol, acl_default: u32) -> Limits {
    Limits {
        bytes_per_second: settings.bytes_per_second,
        packets_per_second: settings.packets_per_second,
        new_per_second: settings.new_per_second,
        max_flows: settings.max_connections,
        max_per_client: settings.max_per_client,
        affinity_s: settings.affinity_s,
        idle_s: settings.idle_timeout_s,
        reply_cap: match protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => settings.reply_cap_bytes,
        },
        acl: 0,
        acl_default,
        _pad: 0,
    }
}

fn row(key: BackendKey, state: u32, route: &Route) -> Row {
    Row {
        generation: 0,
        state,
        address: key.address.ip().into(),
        ifindex: route.ifindex,
        protocol: harbor_common::protocol::Protocol::from(key.frontend.protocol).number(),
        port: key.address.port(),
        frontend_port: key.frontend.port,
        sources: 0,
    }
}

/// The route's own source first, then those that the operator named, of the same family.
fn sources(route: &Route, own: &OwnAddresses) -> Sources {
    let mut sources = Sources::default();
    let is_more = |more: &&IpAddr| {
        more.is_ipv4() == route.source.is_ipv4()
            && **more != route.source
            && own.local.contains(more)
    };
    let all = [&route.source]
        .into_iter()
        .chain(own.sources.iter().filter(is_more));
    for (place, address) in sources.addresses.iter_mut().zip(all.take(SOURCE_ADDRESSES)) {
        *place = (*address).into();
        sources.count += 1;
    }
    sources
}

/// The key under which a backend row's sender is known.
pub(crate) fn endpoint(row: &Row) -> Endpoint {
    Endpoint {
        address: row.address,
        port: row.port,
        protocol: row.protocol as u16,
    }
}
