//! Where each fact about a flow stands in the entries of a flow table, so that another version, with
//! another layout, can read what this one has written and take its flows over.
//!
//! Written to `meta` with the maps. Fields and bits are added in the room behind those that there are, so
//! nothing moves: whoever knows fewer ignores the rest.

use core::mem::offset_of;

use crate::{
    addr::{Ipv4, Ipv6},
    flow::{Flow, FlowKey},
};

/// Room for facts about a flow whose place in an entry is told. Never changes.
pub const FIELDS: usize = 32;
/// Room for state bits. Never changes.
pub const BITS: usize = 16;
/// In [`Offsets`]: the writer knows of no such field.
pub const UNKNOWN: u16 = u16::MAX;

/// Where each field of an entry begins, in octets. The first five belong to the key. What a field
/// holds, and how wide it is, never changes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets(pub [u16; FIELDS]);

/// The places of [`Offsets`].
#[repr(usize)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Key: the sender's address.
    KeySource,
    /// Key: the node's address.
    KeyDestination,
    /// Key: the sender's port, 2 octets.
    KeySourcePort,
    /// Key: the node's port, 2 octets.
    KeyDestinationPort,
    /// Key: IP protocol number, 4 octets.
    KeyProtocol,
    /// Cookie and state bits, 8 octets.
    Word,
    /// When the last packet passed, `CLOCK_MONOTONIC` nanoseconds, 8 octets.
    SeenNs,
    /// Packets in this direction, 8 octets.
    Packets,
    /// Bytes in this direction, 8 octets.
    Bytes,
    /// The source that the packet leaves with.
    Source,
    /// The destination that the packet leaves with.
    Destination,
    /// 2 octets.
    SourcePort,
    /// 2 octets.
    DestinationPort,
    /// 1 = client to backend, 2 = backend to client; 2 octets.
    Direction,
    /// The interface that the packet leaves by, 4 octets.
    Ifindex,
    /// TCP: the highest acknowledgment number; UDP: marks; 4 octets.
    Acknowledged,
    /// TCP: the sequence number after the last octet; UDP: marks; 4 octets.
    NextSequence,
    /// When the flow began, `CLOCK_MONOTONIC` nanoseconds divided by 2^20; 4 octets.
    Opened,
}

/// How the entries of both flow tables are to be read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowLayout {
    /// The masks of the state bits, in the order of [`FlowLayout::OWN`].
    pub bits: [u64; BITS],
    /// Of `flows`.
    pub v4: Offsets,
    /// Of `flows6`.
    pub v6: Offsets,
    /// How far the cookie is shifted in the word; 0 = this tells nothing.
    pub cookie_shift: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(FlowLayout, 8 * BITS + 4 * FIELDS + 8);

/// Puts what is known at the front of the room for more.
const fn known<const N: usize, const ROOM: usize>(known: [u16; N]) -> [u16; ROOM] {
    let (mut all, mut at) = ([UNKNOWN; ROOM], 0);
    while at < N {
        all[at] = known[at];
        at += 1;
    }
    all
}

macro_rules! offsets {
    ($family:ty) => {
        Offsets(known([
            offset_of!(FlowKey<$family>, source) as u16,
            offset_of!(FlowKey<$family>, destination) as u16,
            offset_of!(FlowKey<$family>, source_port) as u16,
            offset_of!(FlowKey<$family>, destination_port) as u16,
            offset_of!(FlowKey<$family>, protocol) as u16,
            offset_of!(Flow<$family>, word) as u16,
            offset_of!(Flow<$family>, seen_ns) as u16,
            offset_of!(Flow<$family>, packets) as u16,
            offset_of!(Flow<$family>, bytes) as u16,
            offset_of!(Flow<$family>, source) as u16,
            offset_of!(Flow<$family>, destination) as u16,
            offset_of!(Flow<$family>, source_port) as u16,
            offset_of!(Flow<$family>, destination_port) as u16,
            offset_of!(Flow<$family>, direction) as u16,
            offset_of!(Flow<$family>, ifindex) as u16,
            offset_of!(Flow<$family>, acknowledged) as u16,
            offset_of!(Flow<$family>, next_sequence) as u16,
            offset_of!(Flow<$family>, opened) as u16,
        ]))
    };
}

type F = Flow<Ipv4>;

impl FlowLayout {
    /// This version's own.
    pub const OWN: Self = Self {
        bits: [
            F::LIVE,
            F::FIN,
            F::RST,
            F::DEAD,
            F::STREAM,
            F::CAPPED,
            F::RESET,
            F::REFUSED,
            F::MOVED,
            F::HEARD,
            F::KEPT,
            0,
            0,
            0,
            0,
            0,
        ],
        v4: offsets!(Ipv4),
        v6: offsets!(Ipv6),
        cookie_shift: F::STATE_BITS,
        _pad: 0,
    };

    /// Of a layout from before there was this description.
    pub const fn known(layout: u32) -> Option<Self> {
        match layout {
            6 => Some(SIXTH),
            _ => None,
        }
    }

    /// A word of this layout as this version has it: the same cookie, the bits at their places.
    pub fn own_word(&self, word: u64) -> u64 {
        let cookie = word >> self.cookie_shift;
        let bits = self.bits.iter().zip(Self::OWN.bits);
        let set = bits.filter(|(theirs, _)| word & **theirs != 0);
        set.fold(cookie << F::STATE_BITS, |sum, (_, own)| sum | own)
    }
}

const SIXTH: FlowLayout = FlowLayout {
    bits: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 0, 0, 0, 0, 0],
    v4: Offsets(known([
        0, 4, 8, 10, 12, 0, 8, 16, 24, 32, 36, 40, 42, 48, 52, 76, 80, 84,
    ])),
    v6: Offsets(known([
        0, 16, 32, 34, 36, 0, 8, 16, 24, 32, 48, 64, 66, 72, 76, 100, 104, 108,
    ])),
    cookie_shift: 16,
    _pad: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_keeps_its_cookie_and_every_bit_finds_its_place() {
        let mut other = FlowLayout::OWN;
        other.cookie_shift = 20;
        for (place, bit) in other.bits.iter_mut().enumerate().take(11) {
            *bit = 1 << (19 - place);
        }
        // One that only the other knows is ignored.
        other.bits[11] = 1;
        let word = 77 << 20 | 1 << 19 | 1 << 9 | 1;
        assert_eq!(other.own_word(word), 77 << 16 | F::LIVE | F::KEPT);
        assert_eq!(
            FlowLayout::OWN.own_word(77 << 16 | F::RST),
            77 << 16 | F::RST
        );
    }

    #[test]
    fn every_field_has_a_place_of_its_own() {
        for offsets in [FlowLayout::OWN.v4, FlowLayout::OWN.v6, SIXTH.v4, SIXTH.v6] {
            let known = &offsets.0[..=Field::Opened as usize];
            let (key, value) = known.split_at(Field::Word as usize);
            assert!(key.is_sorted_by(|a, b| a < b), "{key:?}");
            assert!(value.is_sorted_by(|a, b| a < b), "{value:?}");
        }
    }
}
