//! Reads the kernel's rules, routes and neighbours (by rtnetlink) into plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteType},
        rule::{RuleAttribute, RuleMessage},
    },
};

use super::ways::{KernelNeighbour, KernelRoute, KernelWays};

/// Priorities of the rules that every node has: local, main, default.
const DEFAULT_RULES: [u32; 3] = [0, 32_766, 32_767];

/// Everything as it is now.
pub(super) async fn read(handle: &Handle) -> Result<KernelWays, rtnetlink::Error> {
    let mut ways = KernelWays::default();
    for (family, version) in [IpVersion::V4, IpVersion::V6].into_iter().enumerate() {
        let mut rules = handle.rule().get(version).execute();
        while let Some(rule) = rules.try_next().await? {
            ways.has_own_rules[family] |= !is_default(&rule);
        }
    }
    let of_v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let of_v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for family in [of_v4, of_v6] {
        let mut routes = handle.route().get(family).execute();
        while let Some(message) = routes.try_next().await? {
            ways.routes.extend(route(&message));
        }
    }
    let mut neighbours = handle.neighbours().get().execute();
    while let Some(message) = neighbours.try_next().await? {
        ways.neighbours.extend(neighbour(&message));
    }
    Ok(ways)
}

fn is_default(rule: &RuleMessage) -> bool {
    let priority = rule
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RuleAttribute::Priority(priority) => Some(*priority),
            _ => None,
        });
    DEFAULT_RULES.contains(&priority.unwrap_or(0))
}

fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Dead) || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (nowhere, is_v4): (IpAddr, _) = match header.address_family {
        AddressFamily::Inet => (Ipv4Addr::UNSPECIFIED.into(), true),
        AddressFamily::Inet6 => (Ipv6Addr::UNSPECIFIED.into(), false),
        _ => return None,
    };
    let mut route = KernelRoute {
        prefix: IpNet::new(nowhere, 0).ok()?,
        table: header.table.into(),
        metric: 0,
        gateway: None,
        ifindex: 0,
        mtu: 0,
        is_plain: header.kind == RouteType::Unicast
            && header.tos == 0
            && header.source_prefix_length == 0,
    };
    let mut destination = nowhere;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(found) => destination = address(found)?,
            RouteAttribute::Gateway(found) => route.gateway = Some(address(found)?),
            RouteAttribute::Oif(index) => route.ifindex = *index,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::MultiPath(_) | RouteAttribute::Encap(_) | RouteAttribute::Via(_) => {
                route.is_plain = false;
            }
            _ => {}
        }
    }
    route.is_plain &= route
        .gateway
        .is_none_or(|gateway| gateway.is_ipv4() == is_v4);
    route.prefix = IpNet::new(destination, header.destination_prefix_length).ok()?;
    Some(route)
}

fn address(found: &RouteAddress) -> Option<IpAddr> {
    match found {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> u32 {
    let found = metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    });
    found.unwrap_or(0)
}

/// A neighbour whose hardware address can be relied on.
fn neighbour(message: &NeighbourMessage) -> Option<KernelNeighbour> {
    use NeighbourState::{Delay, Permanent, Probe, Reachable, Stale};
    if !matches!(
        message.header.state,
        Reachable | Stale | Delay | Probe | Permanent
    ) {
        return None;
    }
    let (mut address, mut hardware) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                address = Some(IpAddr::V4(*v4));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                address = Some(IpAddr::V6(*v6));
            }
            NeighbourAttribute::LinkLayerAddress(octets) => {
                hardware = octets.as_slice().try_into().ok();
            }
            _ => {}
        }
    }
    Some(KernelNeighbour {
        address: address?,
        ifindex: message.header.ifindex,
        hardware: hardware?,
    })
}
