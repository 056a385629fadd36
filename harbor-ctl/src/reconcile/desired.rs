//! Services, routes and own addresses to table rows. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use harbor_common::{
    addr::{Address, Ipv4},
    backend::{Backend as Row, Endpoint},
    frontend::{Policy as PolicyNumber, SET_BACKENDS},
};

use super::{BackendKey, FrontendKey};
use crate::model::{Backend, BackendState, Policy, Protocol, Route, Service};

/// The node's addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OwnAddresses {
    /// Those on which clients reach ports.
    pub(crate) public: BTreeSet<Ipv4Addr>,
    /// All that the host has.
    pub(crate) local: BTreeSet<Ipv4Addr>,
}

/// The way to each backend's host; hosts without a route are missing.
pub(crate) type Routes = BTreeMap<Ipv4Addr, Route>;

/// Rows as the tables should hold them; slots and generations are the plan's business.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Desired {
    pub(crate) addresses: BTreeMap<Ipv4, u32>,
    pub(crate) frontends: BTreeMap<FrontendKey, DesiredFrontend>,
    /// Rows without generation.
    pub(crate) backends: BTreeMap<BackendKey, Row>,
    /// Backends that cannot be reached now: they take no new flows, and what the tables hold of
    /// them stays, because a route that comes back must find their flows alive.
    pub(crate) unrouted: BTreeSet<BackendKey>,
}

/// A frontend's policy and the backends that take its new flows, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DesiredFrontend {
    pub(crate) policy: u32,
    pub(crate) backends: Vec<BackendKey>,
}

/// The tables that serve these services.
pub(crate) fn desired(services: &[Service], routes: &Routes, own: &OwnAddresses) -> Desired {
    let mut desired = Desired::default();
    for service in services {
        for protocol in service.protocols.each() {
            add_frontend(&mut desired, service, *protocol, routes);
        }
    }
    let mut grant = |address: Ipv4Addr, role| {
        *desired.addresses.entry(address.into()).or_insert(0) |= role;
    };
    own.local
        .iter()
        .for_each(|address| grant(*address, Address::LOCAL));
    own.public
        .iter()
        .for_each(|address| grant(*address, Address::PUBLIC | Address::LOCAL));
    routes
        .values()
        .for_each(|route| grant(route.source, Address::TRANSLATION | Address::LOCAL));
    desired
}

fn add_frontend(desired: &mut Desired, service: &Service, protocol: Protocol, routes: &Routes) {
    let key = FrontendKey {
        protocol,
        port: service.port,
    };
    let mut takers = Vec::new();
    for backend in &service.backends {
        let backend_key = BackendKey {
            frontend: key,
            address: backend.address,
        };
        let Some(route) = routes.get(backend.address.ip()) else {
            desired.unrouted.insert(backend_key);
            continue;
        };
        desired
            .backends
            .insert(backend_key, row(backend_key, service, backend, route));
        if !service.draining && backend.state.takes_new_flows() {
            takers.push(backend_key);
        }
    }
    takers.truncate(SET_BACKENDS);
    let policy = match service.policy(protocol) {
        Policy::RoundRobin => PolicyNumber::RoundRobin,
        Policy::First => PolicyNumber::First,
    };
    desired.frontends.insert(
        key,
        DesiredFrontend {
            policy: policy as u32,
            backends: takers,
        },
    );
}

fn row(key: BackendKey, service: &Service, backend: &Backend, route: &Route) -> Row {
    let state = match backend.state {
        BackendState::Active if !service.draining => Row::ACTIVE,
        _ => Row::DRAINING,
    };
    Row {
        generation: 0,
        state,
        address: (*key.address.ip()).into(),
        source: route.source.into(),
        ifindex: route.ifindex,
        protocol: harbor_common::protocol::Protocol::from(key.frontend.protocol).number(),
        port: key.address.port(),
        frontend_port: key.frontend.port,
        _pad: 0,
    }
}

/// The key under which a backend row's sender is known.
pub(crate) fn endpoint(row: &Row) -> Endpoint {
    Endpoint {
        address: row.address,
        port: row.port,
        protocol: row.protocol as u16,
    }
}
