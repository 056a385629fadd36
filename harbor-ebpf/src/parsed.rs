//! What `parse` reads out of a packet, for the stages after it.

use harbor_common::{flow::FlowKey, protocol::Protocol, rules::transition};

use crate::{bound::masked, packet::L3};

/// No transport header starts farther on; all bits set.
pub const FARTHEST_L4: usize = 511;

/// What the later stages need to know of a packet; of IPv4, one cache line.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed<A> {
    /// The five-tuple as it arrived; for a later fragment, without the ports.
    pub key: FlowKey<A>,
    /// Where the transport header starts; to be read by [`Parsed::l4`].
    pub(crate) transport: usize,
    /// Length of the IP packet; of a super-packet that of all its segments together.
    pub length: u32,
    /// Time to live as it arrived.
    pub ttl: u32,
    /// The identification of a fragmented packet.
    pub identification: u32,
    /// What sets this packet apart from a plain one.
    pub oddity: Oddity,
    /// TCP only.
    pub tcp: Tcp,
    /// UDP only: what the datagram can be recognized by, see [`harbor_common::flow::Marks`].
    pub mark: u16,
    /// The transport protocol, as in the key.
    pub protocol: Protocol,
}

/// What sets a packet apart from a plain one.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Oddity {
    /// A plain packet.
    #[default]
    None,
    /// IP options or extension headers.
    Options,
    /// The first of several fragments.
    FirstFragment,
    /// The first of several fragments, and with IP options or extension headers.
    OddFragment,
    /// The first of several fragments, without the whole TCP header.
    TinyFragment,
}

/// What a frame can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet with a transport header.
    Whole,
    /// ICMP or ICMPv6, without options or extensions; nothing else was read.
    Icmp,
    /// A later fragment: it has no ports.
    Fragment,
}

/// The part of the TCP header that the state machine looks at; all zero for UDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sum of the flags of [`transition`].
    pub flags: u32,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// Length of the TCP header.
    pub header: u32,
}

impl<A> Parsed<A> {
    /// Where the transport header starts, bounded for the verifier.
    #[inline(always)]
    pub fn l4(&self) -> usize {
        masked::<{ FARTHEST_L4 }>(self.transport)
    }

    /// Whether this packet asks for a new connection, and is plain enough to begin one.
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        transition::opens(self.tcp.flags) && matches!(self.oddity, Oddity::None)
    }

    /// Octets of the sequence space that this TCP segment takes (RFC 9293, section 3.4).
    #[inline(always)]
    pub fn sequence_space(&self) -> u32 {
        let headers = (self.l4() - L3) as u32 + self.tcp.header;
        let flags = (self.tcp.flags & transition::FIN) + ((self.tcp.flags & transition::SYN) >> 1);
        self.length.saturating_sub(headers) + flags
    }
}

/// Which family's packet a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}
