//! Flows: one client's conversation with one backend, as two entries of its family's hash.
//!
//! The forward entry (client to node) is the master; the reply entry (backend to node) owns the
//! source port, because its key is inserted only if nobody has it. Both carry the same cookie.
//! Only the kernel side deletes entries, and only after it has marked the forward one dead.

use crate::{
    addr::{Ipv4, Ipv6},
    control::Control,
    protocol::Protocol,
};

/// A packet's five-tuple as it arrives at the node; key of `flows` and `flows6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey<A> {
    /// The sender.
    pub source: A,
    /// One of the node's own addresses.
    pub destination: A,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// IP protocol number. A whole word, so that no octet of the key lies unaligned on a stack.
    pub protocol: u32,
}
crate::assert_size!(FlowKey<Ipv4>, 16);
crate::assert_size!(FlowKey<Ipv6>, 40);

/// The finished translation of one direction of a flow; value of `flows` and `flows6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow<A> {
    /// Makes the layout another one, to test how flows move between two.
    #[cfg(harbor_other_layout)]
    pub spare: u64,
    /// `cookie << 16 | state`: changed only by compare-and-exchange.
    pub word: u64,
    /// When the last packet passed, `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub seen_ns: u64,
    /// Packets in this direction. Two CPUs that serve one flow at once may lose a count.
    pub packets: u64,
    /// Bytes of IP packets in this direction, with the same reservation.
    pub bytes: u64,
    /// The source that the packet leaves with.
    pub source: A,
    /// The destination that the packet leaves with.
    pub destination: A,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// Folded one's complement difference of the addresses, for header and pseudo header checksums.
    pub address_delta: u16,
    /// Folded one's complement difference of the ports.
    pub port_delta: u16,
    /// [`Flow::FORWARD`] or [`Flow::REPLY`].
    pub direction: u16,
    /// The largest IP packet that the route takes; 0 = not known.
    pub mtu: u16,
    /// The interface that the packet leaves by.
    pub ifindex: u32,
    /// Element of `next_hops`; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// [`Control::route_generation`] when `ifindex`, `next_hop` and `mtu` were found.
    pub route_generation: u32,
    /// Slot in the `backends` array.
    pub backend: u32,
    /// The slot's generation when the flow began.
    pub backend_generation: u32,
    /// The frontend's slot.
    pub frontend: u32,
    /// TCP: the highest acknowledgment number in this direction. UDP: the earlier two [`Marks`].
    pub acknowledged: u32,
    /// TCP: the sequence number after the last octet in this direction. UDP: the latest two.
    pub next_sequence: u32,
    /// When the flow began: `CLOCK_MONOTONIC` nanoseconds divided by 2^20, about milliseconds.
    pub opened: u32,
}
crate::assert_size!(Flow<Ipv4>, 88 + 8 * cfg!(harbor_other_layout) as usize);
crate::assert_size!(Flow<Ipv6>, 112 + 8 * cfg!(harbor_other_layout) as usize);

/// By what the latest four datagrams of a direction can be recognized: their checksums on arrival.
///
/// An ICMP error quotes the datagram that it is about, so a forger has to guess a checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(pub u64);

impl Marks {
    /// Stands for a checksum that cannot be known: any may be quoted.
    pub const ANY: u16 = 0xffff;

    /// As an entry holds them.
    #[inline(always)]
    pub const fn of(acknowledged: u32, next_sequence: u32) -> Self {
        Self((acknowledged as u64) << 32 | next_sequence as u64)
    }

    /// With one more mark; the oldest is forgotten.
    #[inline(always)]
    pub const fn with(self, mark: u16) -> Self {
        Self(self.0 << 16 | mark as u64)
    }

    /// The part for `acknowledged`.
    #[inline(always)]
    pub const fn earlier(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The part for `next_sequence`.
    #[inline(always)]
    pub const fn latest(self) -> u32 {
        self.0 as u32
    }
}

/// How far [`Flow::opened`] is shifted from nanoseconds.
pub const OPENED_SHIFT: u32 = 20;

/// State bits and directions; they do not depend on the family.
impl<A> Flow<A> {
    /// Client to backend; the master entry.
    pub const FORWARD: u16 = 1;
    /// Backend to client.
    pub const REPLY: u16 = 2;

    /// The backend's answer was accepted by the client: the flow is worth keeping.
    pub const LIVE: u64 = 1;
    /// This direction has sent a FIN.
    pub const FIN: u64 = 2;
    /// This direction has sent a valid RST, and the other has not contradicted it since.
    pub const RST: u64 = 4;
    /// Being deleted: no packet may use it.
    pub const DEAD: u64 = 8;
    /// Forward entry, UDP: the client spoke again after an answer.
    pub const STREAM: u64 = 16;
    /// UDP, as long as the client has sent only one datagram: the port caps what may come back. On both
    /// entries.
    pub const CAPPED: u64 = 32;
    /// The other direction has sent a valid RST, and this one has sent nothing since.
    pub const RESET: u64 = 64;
    /// Forward entry: the backend has refused the flow and another can take it, so the client's next
    /// packet goes there.
    pub const REFUSED: u64 = 128;
    /// Forward entry, TCP: the flow has moved once because a backend did not answer, and does not move
    /// again for that reason alone: a backend that answers late is waited for.
    pub const MOVED: u64 = 256;
    /// Reply entry, TCP: the backend has sent something, but has not accepted.
    pub const HEARD: u64 = 512;
    /// Forward entry: the flow is among those that its port and its client keep (see
    /// [`Phase::is_kept`]).
    pub const KEPT: u64 = 1_024;
    /// Bits of [`Flow::word`] that hold the state; the cookie lies above.
    pub const STATE_BITS: u32 = if cfg!(harbor_other_layout) { 20 } else { 16 };

    /// The entry's cookie, equal in both directions of one flow and never used twice.
    #[inline(always)]
    pub const fn cookie(word: u64) -> u64 {
        word >> Self::STATE_BITS
    }
}

impl<A: Copy> Flow<A> {
    /// The key under which the other direction of this entry stands: the packet that answers the
    /// one this entry sends out.
    #[inline(always)]
    pub const fn opposite_key(&self, protocol: u32) -> FlowKey<A> {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
        }
    }
}

/// The flow that took a place in a ring, and may have to make room once the ring has gone round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSlot<A> {
    /// The flow's cookie; 0 = no flow, or about to change.
    pub cookie: u64,
    /// Its forward entry's key.
    pub key: FlowKey<A>,
}
crate::assert_size!(RingSlot<Ipv4>, 24);
crate::assert_size!(RingSlot<Ipv6>, 48);

/// The next cookie of one ring; an element of `hands`, alone on its cache line.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hand {
    /// How many flows have begun in this ring.
    pub count: u64,
    /// Zero.
    pub _pad: [u64; 7],
}
crate::assert_size!(Hand, 64);

/// How far a flow has come, from the states of its two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come back that the client accepted.
    Opening,
    /// Both sides have spoken; for UDP: one question, and one answer or more.
    Live,
    /// UDP: the client has spoken again after an answer.
    Stream,
    /// TCP: both have said FIN.
    Closed,
    /// TCP: one has reset the connection.
    Reset,
    /// Being deleted.
    Dead,
}

impl Phase {
    /// The phase of a flow whose entries carry these words.
    #[inline(always)]
    pub const fn of(forward: u64, reply: u64) -> Self {
        type F = Flow<Ipv4>;
        if (forward | reply) & F::DEAD != 0 {
            Self::Dead
        } else if (forward | reply) & F::RST != 0 {
            Self::Reset
        } else if forward & reply & F::FIN != 0 {
            Self::Closed
        } else if forward & F::STREAM != 0 {
            Self::Stream
        } else if forward & F::LIVE != 0 {
            Self::Live
        } else {
            Self::Opening
        }
    }

    /// Whether a flow in this phase never makes room for a new one: both sides have shown that they
    /// use it. Each client and each port may keep so many.
    #[inline(always)]
    pub const fn is_kept(self, protocol: u32) -> bool {
        match self {
            Self::Live => protocol == Protocol::Tcp.number(),
            Self::Stream => true,
            Self::Opening | Self::Closed | Self::Reset | Self::Dead => false,
        }
    }

    /// Its lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Live | Self::Stream => "live",
            Self::Closed | Self::Reset => "closed",
            Self::Dead => "dead",
        }
    }

    /// After how many seconds of silence a flow in this phase is forgotten; `idle_s` is the port's
    /// own choice for established flows (0 = none).
    #[inline(always)]
    pub const fn silence_s(self, protocol: u32, idle_s: u32, control: &Control) -> u32 {
        let is_tcp = protocol == Protocol::Tcp.number();
        match self {
            Self::Opening if is_tcp => control.opening_s,
            Self::Opening => control.udp_single_s,
            Self::Live if !is_tcp => control.udp_single_s,
            Self::Live | Self::Stream if idle_s != 0 => idle_s,
            Self::Live => control.tcp_established_s,
            Self::Stream => control.udp_stream_s,
            Self::Closed => control.tcp_closed_s,
            Self::Reset | Self::Dead => control.tcp_reset_s,
        }
    }
}

/// A request of the agent: end this flow if nothing has happened to it since it was read.
///
/// A list of these is the "packet" that the `sweep` program is run on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The forward entry's word as the agent saw it.
    pub word: u64,
    /// The later of the two entries' `seen_ns` as the agent saw it; [`Expired::NOW`] = end the flow
    /// with this cookie in any case.
    pub seen_ns: u64,
    /// The forward entry's key; IPv4 addresses in the last four octets.
    pub key: FlowKey<Ipv6>,
    /// [`crate::addr::Family::INDEX`] of the flow's family.
    pub family: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Expired, 64);

impl Expired {
    /// In `seen_ns`: end the flow even if it is in use.
    pub const NOW: u64 = u64::MAX;
}

#[cfg(test)]
mod tests {
    use super::*;

    type F = Flow<Ipv4>;

    #[test]
    fn a_flow_is_closed_by_two_fins_and_reset_by_one_reset() {
        let live = F::LIVE;
        assert_eq!(Phase::of(0, 0), Phase::Opening);
        assert_eq!(Phase::of(live, live), Phase::Live);
        assert_eq!(Phase::of(live | F::STREAM, live), Phase::Stream);
        assert_eq!(Phase::of(live | F::FIN, live), Phase::Live);
        assert_eq!(Phase::of(live | F::FIN, live | F::FIN), Phase::Closed);
        assert_eq!(Phase::of(live, live | F::RST), Phase::Reset);
        assert_eq!(Phase::of(live | F::DEAD, live | F::RST), Phase::Dead);
    }

    #[test]
    fn a_port_may_choose_how_long_its_established_flows_rest_and_nothing_else() {
        let control = Control {
            opening_s: 6,
            tcp_established_s: 7_440,
            tcp_closed_s: 30,
            tcp_reset_s: 10,
            udp_single_s: 31,
            udp_stream_s: 180,
            ..Control::default()
        };
        let silence = |phase: Phase, protocol: Protocol, idle_s| {
            phase.silence_s(protocol.number(), idle_s, &control)
        };
        assert_eq!(silence(Phase::Live, Protocol::Tcp, 0), 7_440);
        assert_eq!(silence(Phase::Live, Protocol::Tcp, 60), 60);
        assert_eq!(silence(Phase::Opening, Protocol::Tcp, 60), 6);
        assert_eq!(silence(Phase::Closed, Protocol::Tcp, 60), 30);
        assert_eq!(silence(Phase::Reset, Protocol::Tcp, 60), 10);
        assert_eq!(silence(Phase::Live, Protocol::Udp, 60), 31);
        assert_eq!(silence(Phase::Stream, Protocol::Udp, 0), 180);
        assert_eq!(silence(Phase::Stream, Protocol::Udp, 60), 60);
    }

    #[test]
    fn what_both_sides_use_is_kept() {
        let (tcp, udp) = (Protocol::Tcp.number(), Protocol::Udp.number());
        let all = [
            (Phase::Opening, [false, false]),
            (Phase::Live, [true, false]),
            (Phase::Stream, [true, true]),
            (Phase::Closed, [false, false]),
            (Phase::Reset, [false, false]),
            (Phase::Dead, [false, false]),
        ];
        for (phase, kept) in all {
            assert_eq!([tcp, udp].map(|number| phase.is_kept(number)), kept);
        }
    }

    #[test]
    fn four_marks_are_kept() {
        let mut marks = Marks::default();
        for mark in 1..=5 {
            marks = marks.with(mark);
        }
        assert_eq!(Marks::of(marks.earlier(), marks.latest()), marks);
        assert_eq!(marks.0, 0x0002_0003_0004_0005);
    }

    #[test]
    fn the_opposite_of_the_opposite_is_the_flow_itself() {
        let key = FlowKey {
            source: Ipv4::new([192, 0, 2, 1]),
            destination: Ipv4::new([198, 51, 100, 1]),
            source_port: 40000,
            destination_port: 35000,
            protocol: 6,
        };
        let forward = Flow {
            source: Ipv4::new([10, 0, 0, 1]),
            destination: Ipv4::new([10, 0, 0, 9]),
            source_port: 12000,
            destination_port: 80,
            ..Flow::default()
        };
        let reply = Flow {
            source: key.destination,
            destination: key.source,
            source_port: key.destination_port,
            destination_port: key.source_port,
            ..Flow::default()
        };
        assert_eq!(reply.opposite_key(6), key);
        assert_eq!(forward.opposite_key(6).destination_port, 12000);
    }
}
