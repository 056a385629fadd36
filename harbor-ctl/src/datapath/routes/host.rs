//! A connection to the kernel (rtnetlink): interfaces, rules, routes, neighbours and filters as they are.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
        tc::{TcAttribute, TcHandle},
    },
};

use super::{netlink, plan::KernelRoutes};
use crate::{
    datapath::{
        error::{DatapathError, Tried as _},
        interfaces::{self, Snapshot, is_link_local},
    },
    model::Route,
};

/// A connection to the kernel's routing tables.
pub(crate) struct Host {
    runtime: tokio::runtime::Runtime,
    handle: Handle,
}

impl Host {
    /// Connects, in the network namespace of the calling thread.
    pub(crate) fn connect() -> Result<Self, DatapathError> {
        let what = || "cannot talk to the kernel's routing tables".to_owned();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .tried(what)?;
        let guard = runtime.enter();
        let (connection, handle, _) = rtnetlink::new_connection().tried(what)?;
        drop(guard);
        runtime.spawn(connection);
        Ok(Self { runtime, handle })
    }

    /// All interfaces as they are now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot, DatapathError> {
        self.runtime
            .block_on(interfaces::snapshot(&self.handle))
            .tried(|| "cannot list interfaces".into())
    }

    /// Rules, routes and neighbours as they are now.
    pub(crate) fn ways(&self) -> Result<KernelRoutes, DatapathError> {
        self.runtime
            .block_on(netlink::read(&self.handle))
            .tried(|| "cannot list routes and neighbours".into())
    }

    /// Whether the interface's ingress has a filter of this priority.
    pub(crate) fn has_filter(&self, ifindex: u32, priority: u16) -> bool {
        let found = has_filter(&self.handle, ifindex as i32, priority);
        self.runtime.block_on(found).unwrap_or(false)
    }

    /// Removes an interface's clsact discipline if it has no filter left.
    pub(crate) fn remove_idle_clsact(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.runtime
            .block_on(remove_idle_clsact(&self.handle, ifindex as i32))
            .tried(|| format!("cannot remove the clsact discipline of interface {ifindex}"))
    }

    /// The way to each of these hosts; those without one are missing.
    pub(crate) fn routes(&self, hosts: &BTreeSet<IpAddr>) -> BTreeMap<IpAddr, Route> {
        let way = |host: &IpAddr| {
            let route = self.runtime.block_on(route(&self.handle, *host));
            route.map(|route| (*host, route))
        };
        hosts.iter().filter_map(way).collect()
    }
}

async fn has_filter(
    handle: &Handle,
    ifindex: i32,
    priority: u16,
) -> Result<bool, rtnetlink::Error> {
    let mut filters = handle.traffic_filter(ifindex);
    let mut found = filters.get().ingress().execute();
    while let Some(filter) = found.try_next().await? {
        // The upper half of the message's info is the priority.
        if filter.header.info >> 16 == u32::from(priority) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn remove_idle_clsact(handle: &Handle, ifindex: i32) -> Result<(), rtnetlink::Error> {
    let mut filters = handle.traffic_filter(ifindex);
    let (ingress, egress) = (filters.get().ingress(), filters.get().egress());
    let hooks = [
        ingress.execute().try_next().await?,
        egress.execute().try_next().await?,
    ];
    if hooks.iter().any(Option::is_some) {
        return Ok(());
    }
    let mut request = handle.qdisc().del(ifindex);
    let message = request.message_mut();
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: 0,
    };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    request.execute().await
}

async fn route(handle: &Handle, host: IpAddr) -> Option<Route> {
    let wanted = match host {
        IpAddr::V4(host) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
            .destination_prefix(host, 32)
            .build(),
        IpAddr::V6(host) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
            .destination_prefix(host, 128)
            .build(),
    };
    let found = handle
        .route()
        .get(wanted)
        .execute()
        .try_next()
        .await
        .ok()??;
    usable(&found, host)
}

/// What a route says, if packets can be sent along it: not to the host itself, not into nowhere,
/// and not with a source that only neighbours can answer.
fn usable(route: &RouteMessage, host: IpAddr) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut ifindex, mut source) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => {
                source = Some(IpAddr::V4(*address));
            }
            RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => {
                source = Some(IpAddr::V6(*address));
            }
            _ => {}
        }
    }
    let source = source.filter(|source| !is_link_local(source) || is_link_local(&host));
    Some(Route {
        ifindex: ifindex?,
        source: source?,
        is_handed: false,
    })
}
