//! What an IP packet carries, and its bytes.

use super::{Icmp, protocol, pseudo, sum};

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An ICMP message, or an ICMPv6 message: which, says the packet around it.
    Icmp(Icmp),
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
    /// Zero: the sender computed none (RFC 768). Forbidden over IPv6 (RFC 8200).
    None,
}

impl Transport {
    /// Protocol number and bytes between these addresses, which are both of one family.
    pub(super) fn bytes(&self, source: &[u8], destination: &[u8]) -> (u8, Vec<u8>) {
        let is_ipv6 = source.len() == 16;
        match self {
            Self::Tcp(tcp) => (protocol::TCP, tcp.bytes(source, destination)),
            Self::Udp(udp) => (protocol::UDP, udp.bytes(source, destination)),
            Self::Icmp(icmp) if is_ipv6 => {
                let pseudo = pseudo(source, destination, protocol::ICMPV6, icmp.length());
                (protocol::ICMPV6, icmp.bytes(&pseudo))
            }
            Self::Icmp(icmp) => (protocol::ICMP, icmp.bytes(&[])),
            Self::Raw(protocol, bytes) => (*protocol, bytes.clone()),
        }
    }
}

impl Tcp {
    fn bytes(&self, source: &[u8], destination: &[u8]) -> Vec<u8> {
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
        let pseudo = pseudo(source, destination, protocol::TCP, bytes.len());
        let checksum = sum(&[&pseudo, &bytes]);
        bytes[16..18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

impl Udp {
    fn bytes(&self, source: &[u8], destination: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.destination.to_be_bytes());
        bytes.extend(u16::try_from(8 + self.payload.len()).unwrap().to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(&self.payload);
        if self.checksum == Checksum::Full {
            let pseudo = pseudo(source, destination, protocol::UDP, bytes.len());
            let checksum = sum(&[&pseudo, &bytes]);
            // Zero means "none", so a sum of zero is sent as its other form.
            let checksum = if checksum == 0 { 0xffff } else { checksum };
            bytes[6..8].copy_from_slice(&checksum.to_be_bytes());
        }
        bytes
    }
}
