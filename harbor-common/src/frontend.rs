//! Frontends: what a (protocol, port) leads to.
//!
//! A frontend's element is eight bytes and therefore changes as one value. All that may change
//! about it lives in a backend set: the agent builds the set of the other parity aside and flips
//! the generation, so a packet sees the old set or the new one and never a mixture.

use crate::protocol::Protocol;

/// What answers on a (protocol, port); an element of the `frontends` array.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frontend {
    /// This frontend's number: where its sets, cursor and counters are.
    pub slot: u32,
    /// Rises with every change; its parity chooses the set. 0 = nothing answers here.
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

    /// Index of the backend set in force.
    #[inline(always)]
    pub const fn set_index(&self) -> u32 {
        self.slot * 2 + (self.generation & 1)
    }

    /// The value that puts the other set in force.
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
    /// Each new flow goes to the next backend.
    RoundRobin = 0,
    /// Every new flow goes to the first backend of the set (FIFO order of registration).
    First = 1,
}

impl Policy {
    /// Its name in configuration and output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::First => "first",
        }
    }
}

/// The most backends that one set can hold; a power of two, so that an index can be masked.
pub const SET_BACKENDS: usize = 128;

/// The backends that take a frontend's new flows; an element of the `backend_sets` array.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackendSet {
    /// A [`Policy`] as a number.
    pub policy: u32,
    /// How many of `backends` count.
    pub count: u32,
    /// Slots of the `backends` array, in order of registration.
    pub backends: [u32; SET_BACKENDS],
}
crate::assert_size!(BackendSet, 8 + 4 * SET_BACKENDS);

impl Default for BackendSet {
    fn default() -> Self {
        Self {
            policy: 0,
            count: 0,
            backends: [0; SET_BACKENDS],
        }
    }
}

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
            assert_ne!(next.set_index(), frontend.set_index());
            assert_eq!(next.set_index() / 2, 7);
            frontend = next;
        }
    }
}
