//! Frontends: what a (protocol, port) leads to.
//!
//! A frontend's element is eight bytes and therefore changes as one value. Everything that can change
//! about it is in its backend sets, one for each family. The agent builds the sets of the other parity
//! and then flips the generation, so a packet sees the old sets or the new ones, never a mixture.

use crate::protocol::Protocol;

/// What answers on a (protocol, port); an element of the `frontends` array.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// The index of this frontend's sets, state and counters.
    pub slot: u32,
    /// Rises with every change; its parity chooses the sets. 0 = nothing answers here.
    pub generation: u32,
}
crate::assert_size!(Frontend, 8);

impl Frontend {
    /// Index of the `frontends` element of a (protocol, port).
    #[inline(always)]
    pub const fn index(protocol: Protocol, port: u16) -> u32 {
        match protocol {
            Protocol::Tcp => port as u32,
            Protocol::Udp => 0x1_0000 | port as u32,
        }
    }

    /// The (protocol, port) of an index; the inverse of [`Frontend::index`].
    pub const fn from_index(index: u32) -> (Protocol, u16) {
        let protocol = if index & 0x1_0000 == 0 {
            Protocol::Tcp
        } else {
            Protocol::Udp
        };
        (protocol, (index & 0xffff) as u16)
    }

    /// Whether a port is served here.
    #[inline(always)]
    pub const fn is_served(&self) -> bool {
        self.generation != 0
    }

    /// Index of the backend set in force for a family ([`crate::addr::Family::INDEX`]).
    #[inline(always)]
    pub const fn set_index(&self, family: u32) -> u32 {
        self.slot * 4 + family * 2 + (self.generation & 1)
    }

    /// The value that puts the other sets in force.
    #[must_use]
    pub const fn flipped(&self) -> Self {
        // 0 means "not served": skip it, and keep the parity alternating.
        let next = self.generation.wrapping_add(1);
        Self {
            slot: self.slot,
            generation: if next == 0 { 2 } else { next },
        }
    }
}

/// How a new flow finds its backend.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Each new flow goes to the next backend; with weights, along the set's turn table.
    RoundRobin = 0,
    /// Every new flow goes to the current backend, which to begin with is the first of the set (FIFO
    /// order of registration). When that leaves or fails, the next one becomes current, and stays so.
    First = 1,
    /// The client's address decides, by the set's turn table (a Maglev table): a client keeps its
    /// backend, and few clients move when the set changes.
    SourceHash = 2,
    /// The backend with the fewest flows for its weight.
    LeastFlows = 3,
}

impl Policy {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 4] = [
        Self::RoundRobin,
        Self::First,
        Self::SourceHash,
        Self::LeastFlows,
    ];

    /// Its name in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::First => "first",
            Self::SourceHash => "source-hash",
            Self::LeastFlows => "least-flows",
        }
    }
}

/// What a port is limited to; part of every backend set. 0 = not limited, or the default.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of IP packets a second, both directions together.
    pub bytes_per_second: u64,
    /// Packets a second, both directions together.
    pub packets_per_second: u32,
    /// New flows a second.
    pub new_per_second: u32,
    /// Flows at once.
    pub max_flows: u32,
    /// Flows that one client may keep: an IPv4 address, or an IPv6 network of 64 bits.
    pub max_per_client: u32,
    /// Seconds for which a client's address keeps its backend.
    pub affinity_s: u32,
    /// Seconds of silence after which an established flow is forgotten; 0 = the node's timeouts.
    pub idle_s: u32,
    /// UDP: bytes that a backend may send before the client has sent a second datagram.
    pub reply_cap: u32,
    /// The list in the `acl` map of those who may open flows; 0 = everybody.
    pub acl: u32,
    /// What applies to an address that the list does not name: 0 = allow, 1 = deny.
    pub acl_default: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Limits, 48);

/// The most backends that one set can hold; a power of two, so that an index can be masked.
pub const SET_BACKENDS: usize = 128;

/// The backends that take a frontend's new flows; an element of the `backend_sets` array.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendSet {
    /// What the port is limited to; the same in both families' sets.
    pub limits: Limits,
    /// A [`Policy`] as a number.
    pub policy: u32,
    /// How many of `backends` are in use.
    pub count: u32,
    /// Element of `turns`; 0 = every backend has the same weight and there is no table.
    pub turns: u32,
    /// How many backends the set of the other family has.
    pub other_family: u32,
    /// 1 = the proxy takes the new flows, because the program has no route to some backend.
    pub handed: u32,
    /// Zero.
    pub _pad: u32,
    /// Slots of the `backends` array, in order of registration.
    pub backends: [u32; SET_BACKENDS],
    /// Weights of the backends, for [`Policy::LeastFlows`]; at least 1 for each in use.
    pub weights: [u8; SET_BACKENDS],
}
crate::assert_size!(BackendSet, 48 + 24 + 5 * SET_BACKENDS);

impl Default for BackendSet {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            policy: 0,
            count: 0,
            turns: 0,
            other_family: 0,
            handed: 0,
            _pad: 0,
            backends: [0; SET_BACKENDS],
            weights: [0; SET_BACKENDS],
        }
    }
}

/// Entries of a turn table; a prime, as Maglev needs (Eisenbud et al., NSDI 2016, section 3.4).
pub const TURNS: usize = 1_021;
/// The same, rounded up to the power of two that an index is masked with.
pub const TURN_SLOTS: usize = 1_024;

/// Whose turn it is: positions in a backend set; an element of the `turns` array.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnTable {
    /// The first [`TURNS`] are in use.
    pub positions: [u8; TURN_SLOTS],
}
crate::assert_size!(TurnTable, TURN_SLOTS);

impl Default for TurnTable {
    fn default() -> Self {
        Self {
            positions: [0; TURN_SLOTS],
        }
    }
}

/// What the datapath keeps of a frontend; an element of `frontend_state`, indexed by its slot.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrontendState {
    /// Round robin cursor.
    pub cursor: u64,
    /// [`Policy::First`]: the current backend of each family, `generation << 32 | slot`; 0 = none.
    pub current: [u64; 2],
    /// Flows in the table now, both families.
    pub flows: u64,
    /// When the new flows so far will have been paid off, `CLOCK_MONOTONIC` ns (see
    /// [`crate::rules::bucket`]).
    pub new_flows_ns: u64,
    /// The same for packets.
    pub packets_ns: u64,
    /// The same for bytes.
    pub bytes_ns: u64,
    /// Flows that a limit, a list or a full table refused.
    pub refused: u64,
    /// Flows that are kept now, both families (see [`crate::flow::Phase::is_kept`]).
    pub kept: u64,
}
crate::assert_size!(FrontendState, 72);

/// What the keys of the `acl` trie hold behind their prefix length, which counts the 32 bits of
/// `list` and those of the network's prefix (an IPv4 prefix has 96 more, see [`crate::addr::Ip`]).
/// The value is [`AclNetwork::ALLOW`] or [`AclNetwork::DENY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AclNetwork {
    /// The list's number; compared bit by bit, so its order of octets does not matter.
    pub list: u32,
    /// The network.
    pub address: crate::addr::Ip,
}
crate::assert_size!(AclNetwork, 20);

impl AclNetwork {
    /// May open flows.
    pub const ALLOW: u32 = 1;
    /// May not.
    pub const DENY: u32 = 2;
}

/// Key of the `affinity` map: a client's address at a frontend.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AffinityKey {
    /// The frontend's slot.
    pub frontend: u32,
    /// The client.
    pub client: crate::addr::Ip,
}
crate::assert_size!(AffinityKey, 20);

/// Value of the `affinity` map: the backend that a client keeps.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Slot in the `backends` array.
    pub backend: u32,
    /// The slot's generation.
    pub generation: u32,
    /// Until when, `CLOCK_MONOTONIC` ns.
    pub until_ns: u64,
}
crate::assert_size!(Affinity, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_one_protocol_and_port() {
        for (protocol, port) in [
            (Protocol::Tcp, 0),
            (Protocol::Tcp, 65535),
            (Protocol::Udp, 35000),
        ] {
            assert_eq!(
                Frontend::from_index(Frontend::index(protocol, port)),
                (protocol, port)
            );
        }
    }

    #[test]
    fn a_flip_changes_the_set_and_never_stops_serving() {
        let mut frontend = Frontend {
            slot: 7,
            generation: u32::MAX - 3,
        };
        for _ in 0..8 {
            let next = frontend.flipped();
            assert!(next.is_served());
            for family in [0, 1] {
                assert_ne!(next.set_index(family), frontend.set_index(family));
                assert_eq!(next.set_index(family) / 4, 7);
            }
            frontend = next;
        }
    }
}
