//! The machine's network interfaces, and which of them can carry the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures_util::TryStreamExt as _;
use rtnetlink::{
    Handle,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{
            InfoData, InfoKind, InfoPortKind, InfoVrf, LinkAttribute, LinkFlags, LinkInfo,
            LinkLayerType, LinkMessage, LinkXdp,
        },
    },
};

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) is_up: bool,
    pub(crate) framing: Framing,
    pub(crate) role: Role,
    pub(crate) hardware: [u8; 6],
    pub(crate) mtu: u32,
    pub(crate) addresses: BTreeSet<IpAddr>,
    /// The table of the VRF that it is part of.
    pub(crate) vrf: Option<u32>,
    /// The interface whose wire it shares: of macvlan and ipvlan devices.
    pub(crate) lower: Option<u32>,
    /// Whether it stands for hardware, a virtual machine's included, and is none of the kernel's own.
    pub(crate) is_physical: bool,
    /// The kernel's number of the XDP program that is attached to it.
    pub(crate) xdp: Option<u32>,
}

/// What stands in front of the IP header of packets that come in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    Ethernet,
    /// Nothing: tunnels, WireGuard, tun, PPP.
    Bare,
    /// Something that the program does not know.
    #[default]
    Other,
}

/// What packets have to do with an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Role {
    /// They come in by it.
    #[default]
    Wire,
    /// They come in by the bridge or bond that it is part of.
    Port,
    /// None come in by it; its addresses are the host's own: loopback, dummy devices, VRFs.
    Addresses,
}

impl Interface {
    /// Whether the program can be attached to it.
    pub(crate) fn can_have_program(&self) -> bool {
        self.is_up && self.role == Role::Wire && self.framing != Framing::Other
    }

    /// Whether `auto` chooses it: an interface of its own that is up and has an address that others can
    /// reach, or that the way to a backend leaves by.
    pub(crate) fn is_eligible(&self, towards: &BTreeSet<u32>) -> bool {
        let is_used = self.reachable().next().is_some() || towards.contains(&self.index);
        self.can_have_program() && is_used
    }

    /// Its addresses but for those that only the host, or its neighbours, can reach.
    pub(crate) fn reachable(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let addresses = self.addresses.iter().copied();
        addresses.filter(|address| !is_link_local(address) && !address.is_loopback())
    }
}

/// All interfaces at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) interfaces: Vec<Interface>,
}

impl Snapshot {
    /// Every address that the host has.
    pub(crate) fn local_addresses(&self) -> BTreeSet<IpAddr> {
        self.sources().map(|(address, _)| address).collect()
    }

    /// Every address that the host has, with the table of the VRF that it belongs to.
    pub(super) fn sources(&self) -> impl Iterator<Item = (IpAddr, Option<u32>)> + '_ {
        let of = |found: &Interface| (found.addresses.clone(), found.vrf);
        let each = self.interfaces.iter().map(of);
        each.flat_map(|(addresses, vrf)| addresses.into_iter().map(move |address| (address, vrf)))
    }
}

/// All interfaces as they are now.
pub(super) async fn snapshot(handle: &Handle) -> Result<Snapshot, rtnetlink::Error> {
    let (mut interfaces, mut masters) = (BTreeMap::new(), BTreeMap::new());
    let mut tables = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        let interface = interface(&link);
        if let Some(table) = vrf_table(&link) {
            tables.insert(interface.index, table);
        }
        if let Some(master) = master(&link) {
            masters.insert(interface.index, master);
        }
        interfaces.insert(interface.index, interface);
    }
    for (index, interface) in &mut interfaces {
        let vrf = masters.get(index).unwrap_or(index);
        interface.vrf = tables.get(vrf).copied();
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await? {
        let interface = interfaces.get_mut(&message.header.index);
        if let (Some(interface), Some(address)) = (interface, own_address(&message)) {
            interface.addresses.insert(address);
        }
    }
    Ok(Snapshot {
        interfaces: interfaces.into_values().collect(),
    })
}

fn interface(link: &LinkMessage) -> Interface {
    let kind = info(link, |info| match info {
        LinkInfo::Kind(kind) => Some(kind.clone()),
        _ => None,
    });
    let shares_wire = matches!(
        kind,
        Some(InfoKind::MacVlan | InfoKind::MacVtap | InfoKind::IpVlan | InfoKind::IpVtap)
    );
    let mut interface = Interface {
        is_physical: kind.is_none() && link.header.link_layer_type == LinkLayerType::Ether,
        index: link.header.index,
        is_up: link.header.flags.contains(LinkFlags::Up),
        role: match kind {
            _ if link.header.link_layer_type == LinkLayerType::Loopback => Role::Addresses,
            Some(InfoKind::Dummy | InfoKind::Vrf) => Role::Addresses,
            _ if is_port(link) => Role::Port,
            _ => Role::Wire,
        },
        ..Interface::default()
    };
    let mut has_far_end = false;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Link(index) if shares_wire => interface.lower = Some(*index),
            LinkAttribute::Address(octets) => {
                interface.hardware = octets.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Xdp(all) => {
                interface.xdp = all.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            LinkAttribute::Broadcast(octets) => has_far_end = octets.iter().any(|o| *o != 0),
            _ => {}
        }
    }
    interface.framing = match link.header.link_layer_type {
        LinkLayerType::Ether => Framing::Ethernet,
        LinkLayerType::None
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip => Framing::Bare,
        // One without a far end of its own leaves the outer header in front.
        LinkLayerType::Ipgre | LinkLayerType::Ip6gre if has_far_end => Framing::Bare,
        _ => Framing::Other,
    };
    interface
}

fn info<T>(link: &LinkMessage, read: impl Fn(&LinkInfo) -> Option<T>) -> Option<T> {
    let mut attributes = link.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.iter().find_map(&read),
        _ => None,
    })
}

fn master(link: &LinkMessage) -> Option<u32> {
    let mut attributes = link.attributes.iter();
    attributes.find_map(|attribute| match attribute {
        LinkAttribute::Controller(index) => Some(*index),
        _ => None,
    })
}

/// Whether it is part of something that takes its packets: not of a VRF, which only routes them.
fn is_port(link: &LinkMessage) -> bool {
    let of_vrf = info(link, |info| match info {
        LinkInfo::PortKind(kind) => Some(*kind == InfoPortKind::Vrf),
        _ => None,
    });
    master(link).is_some() && of_vrf != Some(true)
}

fn vrf_table(link: &LinkMessage) -> Option<u32> {
    info(link, |info| match info {
        LinkInfo::Data(InfoData::Vrf(of)) => of.iter().find_map(|attribute| match attribute {
            InfoVrf::TableId(table) => Some(*table),
            _ => None,
        }),
        _ => None,
    })
}

/// `IFA_LOCAL` where there is one; of IPv6 addresses without a peer, `IFA_ADDRESS`.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => return Some(*address),
            AddressAttribute::Address(address) => found = Some(*address),
            _ => {}
        }
    }
    found
}

pub(super) fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}
