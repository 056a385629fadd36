//! Frame to [`Parsed`]. Whatever is odd is left to the stack: nothing is known to be ours yet.

use harbor_common::{
    addr::Ipv4,
    flow::FlowKey,
    protocol::Protocol,
    verdict::{PassReason, Verdict},
};
use network_types::{ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

use crate::packet::{Ethernet, L3, L4, Packet, Ports};

/// What the later stages need to know of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The five-tuple as it arrived.
    pub key: FlowKey,
    /// The transport protocol, as in the key.
    pub protocol: Protocol,
    /// Where the transport header starts.
    pub l4: usize,
    /// Length of the IP packet; of a super-packet that of all its segments together.
    pub length: u32,
    /// Time to live as it arrived.
    pub ttl: u32,
    /// Why this packet cannot be translated even if it is ours.
    pub oddity: Oddity,
    /// TCP only.
    pub tcp: Tcp,
}

/// What this version cannot translate.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// A plain packet.
    None,
    /// IP options.
    Options,
    /// The first of several fragments.
    FirstFragment,
}

/// The part of the TCP header that the state machine looks at; all zero for UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sum of the flag constants below.
    pub flags: u32,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
}

impl Tcp {
    /// No more data from the sender.
    pub const FIN: u32 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u32 = 0x02;
    /// Reset the connection.
    pub const RST: u32 = 0x04;
    /// The acknowledgment number is significant.
    pub const ACK: u32 = 0x10;

    /// Whether this segment asks for a new connection.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST | Self::FIN) == Self::SYN
    }

    /// Whether this segment grants a new connection.
    #[inline(always)]
    pub const fn accepts(&self) -> bool {
        self.flags & (Self::SYN | Self::ACK | Self::RST) == Self::SYN | Self::ACK
    }
}

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const IPV4_VERSION: u8 = 4;
/// "More fragments" in the word of flags and fragment offset (RFC 791, section 3.1).
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// All headers that the packet path reads, IP options excluded.
const HEADERS: usize = L4 + TcpHdr::LEN;
/// IP protocol number of ICMP.
const ICMP: u8 = 1;

const TRUNCATED: Verdict = Verdict::Pass(PassReason::Truncated);
const MALFORMED: Verdict = Verdict::Pass(PassReason::Malformed);

/// Reads the frame's headers, or says why they are none of Harbor's business.
#[inline(always)]
pub fn parse<P: Packet>(packet: &mut P) -> Result<Parsed, Verdict> {
    if !packet.is_for_this_host() {
        return Err(Verdict::Pass(PassReason::OtherHost));
    }
    packet.pull(HEADERS);
    check_link(packet.view(0).ok_or(TRUNCATED)?)?;

    let ip: &Ipv4Hdr = packet.view(L3).ok_or(TRUNCATED)?;
    let header_length = usize::from(ip.vihl & 0x0f) * 4;
    if ip.vihl >> 4 != IPV4_VERSION || header_length < Ipv4Hdr::LEN {
        return Err(MALFORMED);
    }
    if ip.proto == ICMP {
        return Err(Verdict::Pass(PassReason::Icmp));
    }
    let protocol = Protocol::from_number(u32::from(ip.proto))
        .ok_or(Verdict::Pass(PassReason::OtherProtocol))?;
    let oddity = oddity(ip, header_length)?;
    let length = packet_length(packet, u16::from_be_bytes(ip.tot_len)).ok_or(MALFORMED)?;
    let transport = match protocol {
        Protocol::Tcp => TcpHdr::LEN,
        Protocol::Udp => UdpHdr::LEN,
    };
    if (length as usize) < header_length + transport {
        return Err(MALFORMED);
    }

    let l4 = L3 + header_length;
    let ports: &Ports = packet.view(l4).ok_or(TRUNCATED)?;
    let key = FlowKey {
        source: Ipv4::new(ip.src_addr),
        destination: Ipv4::new(ip.dst_addr),
        source_port: u16::from_be_bytes(ports.source),
        destination_port: u16::from_be_bytes(ports.destination),
        protocol: protocol.number(),
    };
    let ttl = u32::from(ip.ttl);
    let tcp = match protocol {
        Protocol::Udp => Tcp::default(),
        Protocol::Tcp => read_tcp(packet, l4).ok_or(TRUNCATED)?,
    };
    Ok(Parsed {
        key,
        protocol,
        l4,
        length,
        ttl,
        oddity,
        tcp,
    })
}

#[inline(always)]
fn check_link(header: &Ethernet) -> Result<(), Verdict> {
    match header.ether_type {
        ETHERTYPE_IPV4 => Ok(()),
        ETHERTYPE_IPV6 => Err(Verdict::Pass(PassReason::Ipv6)),
        _ => Err(Verdict::Pass(PassReason::NotIp)),
    }
}

/// What of the IP header cannot be translated; later fragments have no ports at all.
#[inline(always)]
fn oddity(ip: &Ipv4Hdr, header_length: usize) -> Result<Oddity, Verdict> {
    let fragment = u16::from_be_bytes(ip.frags);
    if fragment & FRAGMENT_OFFSET != 0 {
        Err(Verdict::Pass(PassReason::Fragment))
    } else if fragment & MORE_FRAGMENTS != 0 {
        Ok(Oddity::FirstFragment)
    } else if header_length != Ipv4Hdr::LEN {
        Ok(Oddity::Options)
    } else {
        Ok(Oddity::None)
    }
}

/// Length of the IP packet: what its header says, if the frame can hold that much.
///
/// Frames may be longer (Ethernet pads to 60 octets). A segmented super-packet above 64 KiB says 0
/// (BIG TCP, Linux 6.3): then the frame knows.
#[inline(always)]
fn packet_length<P: Packet>(packet: &P, stated: u16) -> Option<u32> {
    let available = packet.length().saturating_sub(L3);
    if stated == 0 && packet.is_segmented() {
        return Some(available as u32);
    }
    (usize::from(stated) <= available).then_some(u32::from(stated))
}

/// Where the flags stand in the TCP header (RFC 9293, section 3.1).
const TCP_FLAGS: usize = 13;

#[inline(always)]
fn read_tcp<P: Packet>(packet: &P, l4: usize) -> Option<Tcp> {
    let header: &TcpHdr = packet.view(l4)?;
    // Not by TcpHdr's bit field, which reads bit by bit.
    let flags: &u8 = packet.view(l4 + TCP_FLAGS)?;
    Some(Tcp {
        flags: u32::from(*flags),
        sequence: u32::from_be_bytes(header.seq),
        acknowledgment: u32::from_be_bytes(header.ack_seq),
    })
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
