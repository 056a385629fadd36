//! Flows: one client's conversation with one backend, as two entries of one hash.
//!
//! The forward entry (client to node) is the master; the reply entry (backend to node) owns the
//! source port, because its key is inserted only if nobody has it. Both carry the same cookie.
//! Only the kernel side deletes entries, and only after it has marked the forward one dead.

use crate::addr::Ipv4;

/// A packet's five-tuple as it arrives at the node; key of the `flows` hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The sender.
    pub source: Ipv4,
    /// One of the node's own addresses.
    pub destination: Ipv4,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// IP protocol number. A whole word, so that no octet of the key lies unaligned on a stack.
    pub protocol: u32,
}
crate::assert_size!(FlowKey, 16);

/// The finished translation of one direction of a flow; value of the `flows` hash.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// `cookie << 16 | state`: changed only by compare-and-exchange.
    pub word: u64,
    /// When the last packet passed, `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub seen_ns: u64,
    /// Packets in this direction. Two CPUs that serve one flow at once may lose a count.
    pub packets: u64,
    /// Bytes of IP packets in this direction, with the same reservation.
    pub bytes: u64,
    /// The source that the packet leaves with.
    pub source: Ipv4,
    /// The destination that the packet leaves with.
    pub destination: Ipv4,
    /// Host order.
    pub source_port: u16,
    /// Host order.
    pub destination_port: u16,
    /// One's complement difference of the addresses, for the IP and pseudo header checksums.
    pub address_delta: u32,
    /// One's complement difference of the ports.
    pub port_delta: u32,
    /// The interface that the packet leaves by.
    pub ifindex: u32,
    /// Slot in the `backends` array.
    pub backend: u32,
    /// The slot's generation when the flow began.
    pub backend_generation: u32,
    /// The frontend's slot, for its counters.
    pub frontend: u32,
    /// Reply entry: the sequence number of the backend's SYN-ACK. Forward entry: 0.
    pub sequence: u32,
    /// [`Flow::FORWARD`] or [`Flow::REPLY`].
    pub direction: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Flow, 80);

impl Flow {
    /// Client to backend; the master entry.
    pub const FORWARD: u32 = 1;
    /// Backend to client.
    pub const REPLY: u32 = 2;

    /// The backend's answer was accepted by the client: the flow is worth keeping.
    pub const LIVE: u64 = 1;
    /// This direction has sent a FIN.
    pub const FIN: u64 = 2;
    /// This direction has sent a RST.
    pub const RST: u64 = 4;
    /// Being deleted: no packet may use it.
    pub const DEAD: u64 = 8;
    /// Bits of [`Flow::word`] that hold the state; the cookie lies above.
    pub const STATE_BITS: u32 = 16;

    /// The entry's cookie, equal in both directions of one flow and never used twice.
    #[inline(always)]
    pub const fn cookie(word: u64) -> u64 {
        word >> Self::STATE_BITS
    }

    /// The key under which the other direction of this entry stands: the packet that answers the
    /// one this entry sends out.
    #[inline(always)]
    pub const fn opposite_key(&self, protocol: u32) -> FlowKey {
        FlowKey {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol,
        }
    }
}

/// Who took a slot of the `ring`: a flow that may have to make room once the ring has gone round.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingSlot {
    /// The flow's cookie; 0 = nobody, or about to change.
    pub cookie: u64,
    /// Its forward entry's key.
    pub key: FlowKey,
}
crate::assert_size!(RingSlot, 24);

/// How far a TCP flow has come, from the states of its two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing has come back that the client accepted.
    Opening,
    /// Both sides talk.
    Live,
    /// Both have said FIN, or one RST.
    Closed,
    /// Being deleted.
    Dead,
}

impl Phase {
    /// The phase of a flow whose entries carry these words.
    #[inline(always)]
    pub const fn of(forward: u64, reply: u64) -> Self {
        if (forward | reply) & Flow::DEAD != 0 {
            Self::Dead
        } else if (forward | reply) & Flow::RST != 0 || forward & reply & Flow::FIN != 0 {
            Self::Closed
        } else if forward & Flow::LIVE != 0 {
            Self::Live
        } else {
            Self::Opening
        }
    }

    /// Its lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Closed => "closed",
            Self::Dead => "dead",
        }
    }
}

/// One wish of the agent's sweep: delete this flow if nothing has happened to it since.
///
/// A list of these is the "packet" that the `sweep` program is run on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// The forward entry's word as the agent saw it.
    pub word: u64,
    /// The later of the two entries' `seen_ns` as the agent saw it.
    pub seen_ns: u64,
    /// The forward entry's key.
    pub key: FlowKey,
}
crate::assert_size!(Expired, 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_closed_by_two_fins_or_one_reset() {
        let live = Flow::LIVE;
        assert_eq!(Phase::of(0, 0), Phase::Opening);
        assert_eq!(Phase::of(live, live), Phase::Live);
        assert_eq!(Phase::of(live | Flow::FIN, live), Phase::Live);
        assert_eq!(Phase::of(live | Flow::FIN, live | Flow::FIN), Phase::Closed);
        assert_eq!(Phase::of(live, live | Flow::RST), Phase::Closed);
        assert_eq!(Phase::of(live | Flow::DEAD, live | Flow::RST), Phase::Dead);
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
