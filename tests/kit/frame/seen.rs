//! A frame as it was seen.

use std::net::IpAddr;

use super::protocol;

/// An untagged IP packet without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// Differentiated services and ECN.
    pub tos: u8,
    /// IPv6: the flow label.
    pub label: u32,
    /// Identification; IPv6: that of the fragment header, if there is one.
    pub id: u32,
    /// Flags and fragment offset as they stand in the header; IPv6: in the fragment header.
    pub fragment: u16,
    /// IPv4 options, or IPv6 extension headers one after the other.
    pub options: Vec<u8>,
    /// What it carries.
    pub transport: SeenTransport,
}

/// A transport header as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTransport {
    /// IP protocol number.
    pub protocol: u8,
    /// Source port; 0 of ICMP and of later fragments.
    pub source: u16,
    /// Destination port; 0 of ICMP and of later fragments.
    pub destination: u16,
    /// All after the ports, if there are any, but for the checksum, which is set to zero. Of a later
    /// fragment all of it.
    pub rest: Vec<u8>,
    /// A UDP datagram without a checksum.
    pub is_unprotected: bool,
}

/// Which part of a fragmented packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, in octets.
    pub offset: usize,
    /// Nothing follows.
    pub is_last: bool,
}

/// The packet that an ICMP error quotes: as much of it as is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl Seen {
    /// Which part of a fragmented packet this is; `None` for a whole one.
    pub fn part(&self) -> Option<Part> {
        let part = match self.source {
            // More fragments: bit 13; offset in words of eight octets below.
            IpAddr::V4(_) => Part {
                offset: usize::from(self.fragment & 0x1fff) * 8,
                is_last: self.fragment & 0x2000 == 0,
            },
            // Offset in words of eight octets above three bits, of which the lowest is "more".
            IpAddr::V6(_) => Part {
                offset: usize::from(self.fragment & 0xfff8),
                is_last: self.fragment & 1 == 0,
            },
        };
        (part.offset > 0 || !part.is_last).then_some(part)
    }

    /// What an ICMP error quotes; `None` for anything else, or if it quotes no ports.
    pub fn quote(&self) -> Option<Quote> {
        let body = self.transport.rest.get(8..)?;
        let kind = self.transport.rest[0];
        let ipv6_error = self.transport.protocol == protocol::ICMPV6 && kind < 128;
        let ipv4_error =
            self.transport.protocol == protocol::ICMP && [3, 4, 11, 12].contains(&kind);
        match body.first()? >> 4 {
            4 if ipv4_error => {
                let header = usize::from(body[0] & 15) * 4;
                let address =
                    |at: usize| Some(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?.into());
                quote(
                    address(12)?,
                    address(16)?,
                    *body.get(9)?,
                    body.get(header..)?,
                )
            }
            6 if ipv6_error => {
                let address =
                    |at: usize| Some(<[u8; 16]>::try_from(body.get(at..at + 16)?).ok()?.into());
                quote(address(8)?, address(24)?, *body.get(6)?, body.get(40..)?)
            }
            _ => None,
        }
    }
}

fn quote(source: IpAddr, destination: IpAddr, protocol: u8, rest: &[u8]) -> Option<Quote> {
    let port = |at: usize| Some(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?));
    Some(Quote {
        source,
        destination,
        protocol,
        source_port: port(0)?,
        destination_port: port(2)?,
    })
}
