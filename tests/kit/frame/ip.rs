//! The headers of both families, and their bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Transport, protocol, sum};

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

/// An IPv6 packet. Lengths, next headers and checksums are computed.
#[derive(Clone, Debug)]
pub struct Ip6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services and ECN.
    pub traffic_class: u8,
    /// Flow label, 20 bits.
    pub label: u32,
    /// Headers between this one and what it carries, in order.
    pub extensions: Vec<Extension>,
    /// What it carries.
    pub transport: Transport,
}

/// An IPv6 extension header (RFC 8200).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options; the octets behind its first two, padded to `8n + 6`.
    HopByHop(Vec<u8>),
    /// Destination options, likewise.
    Destination(Vec<u8>),
    /// A routing header, likewise.
    Routing(Vec<u8>),
    /// A fragment header.
    Fragment {
        /// Offset, reserved bits and "more follow", as they stand in the header.
        offset: u16,
        /// Identification.
        id: u32,
    },
}

impl Ip {
    /// The packet's bytes, with its lengths and checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let (protocol, body) = self.transport.bytes(&source, &destination);
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

impl Ip6 {
    /// The packet's bytes, with its lengths, next headers and checksums.
    pub fn bytes(&self) -> Vec<u8> {
        let (source, destination) = (self.source.octets(), self.destination.octets());
        let (last, body) = self.transport.bytes(&source, &destination);
        let nexts = self.extensions.iter().skip(1).map(Extension::number);
        let chain: Vec<u8> = (self.extensions.iter().zip(nexts.chain([last])))
            .flat_map(|(extension, next)| extension.bytes(next))
            .collect();
        let first = self.extensions.first().map_or(last, Extension::number);
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | self.label & 0xf_ffff;
        let mut bytes = word.to_be_bytes().to_vec();
        let length = u16::try_from(chain.len() + body.len()).unwrap();
        bytes.extend(length.to_be_bytes());
        bytes.extend([first, self.hop_limit]);
        bytes.extend(source);
        bytes.extend(destination);
        bytes.extend(chain);
        bytes.extend(body);
        bytes
    }
}

impl Extension {
    /// Six octets of padding (PadN), which every reader skips.
    pub const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];

    /// Its next-header number.
    pub fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => protocol::HOP_BY_HOP,
            Self::Destination(_) => protocol::DESTINATION,
            Self::Routing(_) => protocol::ROUTING,
            Self::Fragment { .. } => protocol::FRAGMENT,
        }
    }

    fn bytes(&self, next: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(body) | Self::Destination(body) | Self::Routing(body) => {
                assert_eq!(body.len() % 8, 6, "an extension of {} octets", body.len());
                let length = u8::try_from((body.len() - 6) / 8).unwrap();
                [&[next, length], &body[..]].concat()
            }
            Self::Fragment { offset, id } => {
                [&[next, 0], &offset.to_be_bytes()[..], &id.to_be_bytes()].concat()
            }
        }
    }
}
