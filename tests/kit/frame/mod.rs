//! Frames of our own making: a builder that computes every checksum in full, and a parser that
//! verifies them.
//!
//! Written from the RFCs and apart from the datapath: incremental updates there, whole sums here,
//! so an error has to be made twice, and differently, to go unseen.

mod build;
mod parse;

pub use build::{Checksum, Frame, Ip, Packet, Tcp, Transport, Udp};
pub use parse::{Seen, SeenTransport, parse};

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
fn sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u64::from(u16::from_be_bytes([*high, *low])),
        [high] => u64::from(*high) << 8,
        _ => 0,
    });
    let mut total: u64 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).unwrap()
}

/// The pseudo header of TCP and UDP over IPv4.
fn pseudo(source: [u8; 4], destination: [u8; 4], protocol: u8, length: usize) -> Vec<u8> {
    let length = u16::try_from(length).unwrap().to_be_bytes();
    [&source[..], &destination[..], &[0, protocol], &length[..]].concat()
}
