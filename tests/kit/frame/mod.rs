//! Frames of our own making: a builder that computes every checksum in full, and a parser that
//! verifies them.
//!
//! Written from the RFCs and apart from the datapath: incremental updates there, whole sums here,
//! so an error has to be made twice, and differently, to go unseen.

mod build;
mod fragment;
mod icmp;
mod ip;
mod parse;
mod seen;
mod transport;

#[cfg(test)]
mod against_etherparse;

pub use build::{Frame, Packet};
pub use fragment::{fragments, reassemble};
pub use icmp::Icmp;
pub use ip::{Extension, Ip, Ip6};
pub use parse::{parse, parse_packet};
pub use seen::{Part, Quote, Seen, SeenTransport};
pub use transport::{Checksum, Tcp, Transport, Udp};

/// Octets in front of an untagged frame's packet.
pub const ETHERNET: usize = 14;

/// EtherTypes (IEEE 802 numbers).
pub mod ethertype {
    /// Internet Protocol version 4.
    pub const IPV4: u16 = 0x0800;
    /// Address Resolution Protocol.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag.
    pub const VLAN: u16 = 0x8100;
    /// Internet Protocol version 6.
    pub const IPV6: u16 = 0x86dd;
}

/// Protocol and next-header numbers (IANA).
pub mod protocol {
    /// IPv6's hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6's routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6's fragment header.
    pub const FRAGMENT: u8 = 44;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6's destination options.
    pub const DESTINATION: u8 = 60;
}

/// TCP flags (RFC 9293).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 16;
}

/// The Internet checksum of these bytes (RFC 1071), over big-endian words.
pub fn sum(parts: &[&[u8]]) -> u16 {
    let mut total: u64 = 0;
    let mut is_high = true;
    for byte in parts.iter().copied().flatten() {
        total += u64::from(*byte) << if is_high { 8 } else { 0 };
        is_high = !is_high;
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap()
}

/// The pseudo header of TCP, UDP and ICMPv6: RFC 793 for addresses of four octets, RFC 8200 for
/// those of sixteen. The sum does not depend on the order of its words.
fn pseudo(source: &[u8], destination: &[u8], protocol: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    [source, destination, &length[..], &[0, 0, 0, protocol]].concat()
}

/// The octets of an address.
fn octets(address: std::net::IpAddr) -> Vec<u8> {
    match address {
        std::net::IpAddr::V4(address) => address.octets().to_vec(),
        std::net::IpAddr::V6(address) => address.octets().to_vec(),
    }
}
