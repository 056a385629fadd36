//! What the machine's own network looks like: interfaces, addresses, routes (by rtnetlink).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        address::AddressAttribute,
        link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
        tc::{TcAttribute, TcHandle},
    },
};

use super::{DatapathError, Tried as _};
use crate::model::Route;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) is_ethernet: bool,
    /// Part of a bridge or bond, which then is the interface that counts.
    pub(crate) is_port: bool,
    pub(crate) addresses: BTreeSet<Ipv4Addr>,
}

impl Interface {
    /// Whether `auto` chooses it: an Ethernet-like interface of its own that is up and has an
    /// address.
    pub(crate) fn is_eligible(&self) -> bool {
        self.is_up && self.is_ethernet && !self.is_port && !self.addresses.is_empty()
    }
}

/// All interfaces at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) interfaces: Vec<Interface>,
}

impl Snapshot {
    /// Every IPv4 address that the host has.
    pub(crate) fn local_addresses(&self) -> BTreeSet<Ipv4Addr> {
        self.interfaces
            .iter()
            .flat_map(|interface| interface.addresses.iter().copied())
            .collect()
    }
}

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
            .block_on(snapshot(&self.handle))
            .tried(|| "cannot list interfaces".into())
    }

    /// Removes an interface's clsact discipline if it has no filter left.
    pub(crate) fn remove_idle_clsact(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.runtime
            .block_on(remove_idle_clsact(&self.handle, ifindex as i32))
            .tried(|| format!("cannot remove the clsact discipline of interface {ifindex}"))
    }

    /// The way to each of these hosts; those without one are missing.
    pub(crate) fn routes(&self, hosts: &BTreeSet<Ipv4Addr>) -> BTreeMap<Ipv4Addr, Route> {
        let way = |host: &Ipv4Addr| {
            let route = self.runtime.block_on(route(&self.handle, *host));
            route.map(|route| (*host, route))
        };
        hosts.iter().filter_map(way).collect()
    }
}

async fn snapshot(handle: &Handle) -> Result<Snapshot, rtnetlink::Error> {
    let mut interfaces = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let interface = interface(&link);
        interfaces.insert(interface.index, interface);
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let Some(interface) = interfaces.get_mut(&message.header.index) else {
            continue;
        };
        for attribute in message.attributes {
            if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                interface.addresses.insert(address);
            }
        }
    }
    Ok(Snapshot {
        interfaces: interfaces.into_values().collect(),
    })
}

fn interface(link: &LinkMessage) -> Interface {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
    let is_port = link
        .attributes
        .iter()
        .any(|a| matches!(a, LinkAttribute::Controller(_)));
    Interface {
        index: link.header.index,
        name: name.unwrap_or_default(),
        is_up: link.header.flags.contains(LinkFlags::Up),
        is_ethernet: link.header.link_layer_type == LinkLayerType::Ether,
        is_port,
        addresses: BTreeSet::new(),
    }
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

async fn route(handle: &Handle, host: Ipv4Addr) -> Option<Route> {
    let wanted = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(host, 32)
        .build();
    let found = handle
        .route()
        .get(wanted)
        .execute()
        .try_next()
        .await
        .ok()??;
    usable(&found)
}

/// What a route says, if packets can be sent along it: not to the host itself, not into nowhere.
fn usable(route: &RouteMessage) -> Option<Route> {
    if route.header.kind != RouteType::Unicast {
        return None;
    }
    let (mut ifindex, mut source) = (None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => source = Some(*address),
            _ => {}
        }
    }
    Some(Route {
        ifindex: ifindex?,
        source: source?,
    })
}
