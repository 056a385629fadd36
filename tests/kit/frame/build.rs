//! From fields to bytes.

use std::net::Ipv4Addr;

use super::{ethertype, pseudo, sum};

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
    /// Anything, under its EtherType.
    Raw(u16, Vec<u8>),
}

/// An IPv4 packet. Lengths and checksums are computed; what a test wants wrong it patches in the
/// finished bytes.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset as they stand in the header.
    pub fragment: u16,
    /// Options, padded to whole words.
    pub options: Vec<u8>,
    /// What it carries.
    pub transport: Transport,
}

/// What an IPv4 packet carries.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// Bytes of a protocol with this number.
    Raw(u8, Vec<u8>),
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// A sum of [`super::flag`].
    pub flags: u8,
    /// Options, padded to whole words.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

/// A UDP datagram.
#[derive(Clone, Debug)]
pub struct Udp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Whether it is protected.
    pub checksum: Checksum,
    /// Data.
    pub payload: Vec<u8>,
}

/// The checksum field of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Computed.
    Full,
    /// Zero: the sender computed none (RFC 768).
    None,
}

impl Frame {
    /// An untagged frame with an IPv4 packet of ordinary fields.
    pub fn ipv4(
        to: [u8; 6],
        from: [u8; 6],
        (source, destination): (Ipv4Addr, Ipv4Addr),
        transport: Transport,
    ) -> Self {
        let ip = Ip {
            source,
            destination,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            fragment: 0x4000,
            options: Vec::new(),
            transport,
        };
        Self {
            to,
            from,
            tags: Vec::new(),
            packet: Packet::Ipv4(ip),
        }
    }

    /// The same frame with its IPv4 header changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Ip)) -> Self {
        match &mut self.packet {
            Packet::Ipv4(ip) => change(ip),
            Packet::Raw(..) => panic!("no IPv4 packet"),
        }
        self
    }

    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to, self.from].concat();
        for tag in &self.tags {
            bytes.extend(ethertype::VLAN.to_be_bytes());
            bytes.extend(tag.to_be_bytes());
        }
        match &self.packet {
            Packet::Ipv4(ip) => {
                bytes.extend(ethertype::IPV4.to_be_bytes());
                bytes.extend(ip.bytes());
            }
            Packet::Raw(kind, payload) => {
                bytes.extend(kind.to_be_bytes());
                bytes.extend(payload);
            }
        }
        bytes
    }
}

impl Ip {
    /// The packet's bytes, with its lengths and checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let (protocol, body) = match &self.transport {
            Transport::Tcp(tcp) => (6, tcp.bytes(source, destination)),
            Transport::Udp(udp) => (17, udp.bytes(source, destination)),
            Transport::Raw(protocol, bytes) => (*protocol, bytes.clone()),
        };
        let header = 20 + self.options.len();
        assert!(
            header.is_multiple_of(4) && header <= 60,
            "options of {} bytes",
            self.options.len()
        );
        let words = u8::try_from(header / 4).unwrap();
        let mut bytes = vec![0x40 | words, self.tos];
        bytes.extend(u16::try_from(header + body.len()).unwrap().to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, protocol, 0, 0]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(&self.options);
        let checksum = sum(&[&bytes]);
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes.extend(body);
        bytes
    }
}

impl Tcp {
    fn bytes(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header = 20 + self.options.len();
        assert!(
            header.is_multiple_of(4) && header <= 60,
            "options of {} bytes",
            self.options.len()
        );
        let mut bytes = Vec::new();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.acknowledgement.to_be_bytes());
        bytes.extend([u8::try_from(header / 4).unwrap() << 4, self.flags]);
        bytes.extend([0xfa, 0xf0, 0, 0, 0, 0]);
        bytes.extend(&self.options);
        bytes.extend(&self.payload);
        let checksum = sum(&[&pseudo(source, destination, 6, bytes.len()), &bytes]);
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl Udp {
    fn bytes(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&self.payload);
        if self.checksum == Checksum::Full {
            let checksum = sum(&[&pseudo(source, destination, 17, bytes.len()), &bytes]);
            // Zero means "none", so a sum of zero is sent as its other form.
            let checksum = if checksum == 0 { 0xffff } else { checksum };
            bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }
}
