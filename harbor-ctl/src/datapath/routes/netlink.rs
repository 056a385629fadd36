//! Reads the kernel's rules, routes and neighbours (by rtnetlink) into plain values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::{
    Handle, IpVersion, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
            RouteNextHopFlags, RouteProtocol, RouteType,
        },
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};

use super::{
    plan::{Hop, KernelNeighbour, KernelRoute, KernelRoutes, RouteKind},
    policy::{KernelRule, Reach, Then},
};
use crate::datapath::interfaces;

/// Everything as it is now.
pub(super) async fn read(handle: &Handle) -> Result<KernelRoutes, rtnetlink::Error> {
    let mut ways = KernelRoutes::default();
    for (family, version) in [IpVersion::V4, IpVersion::V6].into_iter().enumerate() {
        let mut rules = handle.rule().get(version).execute();
        while let Some(message) = rules.try_next().await? {
            ways.rules[family].push(rule(&message));
        }
        ways.rules[family].sort_by_key(|rule| rule.priority);
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
        match message.header.state {
            NeighbourState::Failed => ways.failed.extend(owner(&message)),
            _ => ways.neighbours.extend(neighbour(&message)),
        }
    }
    Ok(ways)
}

/// A rule as far as it is understood: what is not makes it one that may or may not apply.
fn rule(message: &RuleMessage) -> KernelRule {
    let header = &message.header;
    let mut rule = KernelRule {
        priority: 0,
        source: None,
        destination: None,
        is_inverted: header.flags.contains(RuleFlags::Invert),
        reach: Reach::Every,
        suppressed: None,
        then: Then::Unknown,
    };
    let mut table = u32::from(header.table);
    let mut of_vrf = false;
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => rule.priority = *priority,
            RuleAttribute::Table(found) => table = *found,
            RuleAttribute::Source(address) => {
                rule.source = IpNet::new(*address, header.src_len).ok();
            }
            RuleAttribute::Destination(address) => {
                rule.destination = IpNet::new(*address, header.dst_len).ok();
            }
            // Packets of flows carry no mark, leave by no interface that a socket is bound to, and
            // count as the node's own.
            RuleAttribute::FwMark(mark) if *mark != 0 => rule.reach = rule.reach.and(Reach::None),
            RuleAttribute::Iifname(name) if name != "lo" => {
                rule.reach = rule.reach.and(Reach::None)
            }
            RuleAttribute::Oifname(_) => rule.reach = rule.reach.and(Reach::None),
            RuleAttribute::L3MDev(true) => of_vrf = true,
            // The kernel always says it, and all bits set are none.
            RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            RuleAttribute::SuppressPrefixLen(length) => rule.suppressed = Some(*length),
            RuleAttribute::SuppressIfGroup(u32::MAX)
            | RuleAttribute::FwMark(_)
            | RuleAttribute::FwMask(_)
            | RuleAttribute::Iifname(_)
            | RuleAttribute::L3MDev(false)
            | RuleAttribute::Realm(_)
            | RuleAttribute::Protocol(_) => {}
            // Users, ports, protocols and the like.
            _ => rule.reach = rule.reach.and(Reach::Some),
        }
    }
    if header.tos != 0 {
        rule.reach = rule.reach.and(Reach::Some);
    }
    rule.then = match header.action {
        RuleAction::ToTable if of_vrf => Then::VrfTable,
        RuleAction::ToTable => Then::Table(table),
        RuleAction::Nop => Then::Nothing,
        RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => Then::Refuse,
        _ => Then::Unknown,
    };
    rule
}

fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let header = &message.header;
    if header.flags.contains(RouteFlags::Dead) || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let nowhere: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = KernelRoute {
        prefix: IpNet::new(nowhere, header.destination_prefix_length).ok()?,
        table: header.table.into(),
        metric: 0,
        hops: Vec::new(),
        mtu: 0,
        is_connected: header.protocol == RouteProtocol::Kernel,
        kind: match header.kind {
            // Every interface has it, and addresses alone do not tell which is meant.
            _ if header.destination_prefix_length >= 10 && is_link_local(message) => RouteKind::Own,
            RouteType::Unicast if header.tos != 0 || header.source_prefix_length != 0 => {
                RouteKind::Odd
            }
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Throw => RouteKind::Throw,
            RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit => {
                RouteKind::Nowhere
            }
            _ => RouteKind::Own,
        },
    };
    let mut hop = Hop::default();
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(found) => {
                let length = header.destination_prefix_length;
                route.prefix = IpNet::new(address(found)?, length).ok()?;
            }
            RouteAttribute::Oif(index) => hop.ifindex = *index,
            RouteAttribute::Table(table) => route.table = *table,
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::MultiPath(hops) => {
                for found in hops {
                    route.hops.push(next_hop(found, &mut route.kind));
                }
            }
            other => of_hop(other, &mut hop, &mut route.kind),
        }
    }
    hop.is_down = header.flags.contains(RouteFlags::Linkdown);
    if hop.ifindex != 0 {
        route.hops.push(hop);
    }
    Some(route)
}

fn is_link_local(message: &RouteMessage) -> bool {
    message.attributes.iter().any(|attribute| match attribute {
        RouteAttribute::Destination(found) => {
            address(found).is_some_and(|found| interfaces::is_link_local(&found))
        }
        _ => false,
    })
}

fn next_hop(found: &RouteNextHop, kind: &mut RouteKind) -> Hop {
    let down = RouteNextHopFlags::Dead | RouteNextHopFlags::Linkdown;
    let mut hop = Hop {
        ifindex: found.interface_index,
        gateway: None,
        is_down: found.flags.intersects(down),
    };
    for attribute in &found.attributes {
        of_hop(attribute, &mut hop, kind);
    }
    hop
}

/// What a route says of one of its next hops.
fn of_hop(attribute: &RouteAttribute, hop: &mut Hop, kind: &mut RouteKind) {
    match attribute {
        RouteAttribute::Gateway(found) => hop.gateway = address(found),
        // A gateway of the other family, or a header in front of the packet.
        RouteAttribute::Encap(_) | RouteAttribute::Via(_) if *kind == RouteKind::Unicast => {
            *kind = RouteKind::Odd;
        }
        _ => {}
    }
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
    let mut attributes = message.attributes.iter();
    let hardware = attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(octets) => octets.as_slice().try_into().ok(),
        _ => None,
    });
    let (address, ifindex) = owner(message)?;
    Some(KernelNeighbour {
        address,
        ifindex,
        hardware: hardware?,
    })
}

/// Whose entry it is, and behind which interface.
fn owner(message: &NeighbourMessage) -> Option<(IpAddr, u32)> {
    let mut attributes = message.attributes.iter();
    let address = attributes.find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    Some((address?, message.header.ifindex))
}
