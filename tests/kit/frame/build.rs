//! From fields to frames.

use std::net::IpAddr;

use super::{Extension, Ip, Ip6, Transport, ethertype};

/// An Ethernet frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: Vec<u16>,
    /// What it carries.
    pub packet: Packet,
}

/// What an Ethernet frame carries.
#[derive(Clone, Debug)]
pub enum Packet {
    /// An IPv4 packet.
    Ipv4(Ip),
    /// An IPv6 packet.
    Ipv6(Ip6),
    /// Anything, under its EtherType.
    Raw(u16, Vec<u8>),
}

impl Frame {
    /// An untagged frame with a packet of ordinary fields, of the addresses' family.
    pub fn ip(
        to: [u8; 6],
        from: [u8; 6],
        addresses: (impl Into<IpAddr>, impl Into<IpAddr>),
        transport: Transport,
    ) -> Self {
        let packet = match (addresses.0.into(), addresses.1.into()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Packet::Ipv4(Ip {
                source,
                destination,
                ttl: 64,
                tos: 0,
                id: 0x1234,
                fragment: 0x4000,
                options: Vec::new(),
                transport,
            }),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Packet::Ipv6(Ip6 {
                source,
                destination,
                hop_limit: 64,
                traffic_class: 0,
                label: 0x5_4321,
                extensions: Vec::new(),
                transport,
            }),
            (source, destination) => panic!("{source} and {destination} share no family"),
        };
        Self {
            to,
            from,
            tags: Vec::new(),
            packet,
        }
    }

    /// The same frame with its IPv4 header changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Ip)) -> Self {
        match &mut self.packet {
            Packet::Ipv4(ip) => change(ip),
            other => panic!("no IPv4 packet: {other:?}"),
        }
        self
    }

    /// The same frame with its IPv6 header changed.
    #[must_use]
    pub fn with6(mut self, change: impl FnOnce(&mut Ip6)) -> Self {
        match &mut self.packet {
            Packet::Ipv6(ip) => change(ip),
            other => panic!("no IPv6 packet: {other:?}"),
        }
        self
    }

    /// The same frame with another time to live, or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.packet {
            Packet::Ipv4(ip) => ip.ttl = ttl,
            Packet::Ipv6(ip) => ip.hop_limit = ttl,
            Packet::Raw(..) => panic!("no IP packet"),
        }
        self
    }

    /// The same frame with other differentiated services and ECN bits.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        match &mut self.packet {
            Packet::Ipv4(ip) => ip.tos = tos,
            Packet::Ipv6(ip) => ip.traffic_class = tos,
            Packet::Raw(..) => panic!("no IP packet"),
        }
        self
    }

    /// The same frame from another source, which is of its family.
    #[must_use]
    pub fn source(mut self, address: impl Into<IpAddr>) -> Self {
        match (&mut self.packet, address.into()) {
            (Packet::Ipv4(ip), IpAddr::V4(address)) => ip.source = address,
            (Packet::Ipv6(ip), IpAddr::V6(address)) => ip.source = address,
            (packet, address) => panic!("{address} is no source of {packet:?}"),
        }
        self
    }

    /// The same frame to another destination, which is of its family.
    #[must_use]
    pub fn destination(mut self, address: impl Into<IpAddr>) -> Self {
        match (&mut self.packet, address.into()) {
            (Packet::Ipv4(ip), IpAddr::V4(address)) => ip.destination = address,
            (Packet::Ipv6(ip), IpAddr::V6(address)) => ip.destination = address,
            (packet, address) => panic!("{address} is no destination of {packet:?}"),
        }
        self
    }

    /// The same frame with options that every host must understand: router alert (RFC 2113), or
    /// destination options that are all padding.
    #[must_use]
    pub fn optioned(mut self) -> Self {
        match &mut self.packet {
            Packet::Ipv4(ip) => ip.options = vec![0x94, 4, 0, 0],
            Packet::Ipv6(ip) => ip
                .extensions
                .push(Extension::Destination(Extension::PADDING.to_vec())),
            Packet::Raw(..) => panic!("no IP packet"),
        }
        self
    }

    /// The packet's bytes.
    pub fn packet_bytes(&self) -> Vec<u8> {
        match &self.packet {
            Packet::Ipv4(ip) => ip.bytes(),
            Packet::Ipv6(ip) => ip.bytes(),
            Packet::Raw(_, payload) => payload.clone(),
        }
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for tag in &self.tags {
            bytes.extend(ethertype::VLAN.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        let kind = match &self.packet {
            Packet::Ipv4(_) => ethertype::IPV4,
            Packet::Ipv6(_) => ethertype::IPV6,
            Packet::Raw(kind, _) => *kind,
        };
        bytes.extend(kind.to_be_bytes());
        bytes.extend(self.packet_bytes());
        bytes
    }
}
