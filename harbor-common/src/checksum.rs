//! Internet checksum arithmetic (RFC 1071, incremental update by RFC 1624, equation 3).
//!
//! A delta is the one's complement sum of the old value (inverted) and the new one. Folding it into a
//! checksum replaces one by the other without reading the rest of the packet. One's complement sums
//! do not depend on byte order as long as all terms have the same, so octets are read as they stand
//! in the packet.

use crate::{addr::Family, flow::FlowKey};

/// Folds a 32-bit one's complement sum to 16 bits.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// The delta that replaces `old` by `new`, both as they stand in the packet.
#[inline(always)]
pub const fn delta16(old: u16, new: u16) -> u32 {
    (!old) as u32 + new as u32
}

/// The delta that replaces one address by another.
#[inline(always)]
pub fn delta_address<A: Family>(old: &A, new: &A) -> u32 {
    old.complement_sum() + new.sum()
}

/// The delta that replaces one port by another; both in host order, as keys hold them.
#[inline(always)]
pub const fn delta_port(old: u16, new: u16) -> u32 {
    delta16(old.to_be(), new.to_be())
}

/// The checksum after a delta; both as they stand in the packet.
#[inline(always)]
pub const fn apply(checksum: u16, delta: u32) -> u16 {
    !fold((!checksum) as u32 + fold(delta) as u32)
}

/// What a packet changes by that arrives under one key of a flow and leaves as what the other key answers:
/// of the addresses, and of the ports.
#[inline(always)]
pub fn deltas<A: Family>(own: &FlowKey<A>, other: &FlowKey<A>) -> (u16, u16) {
    (
        fold(
            delta_address(&own.source, &other.destination)
                + delta_address(&own.destination, &other.source),
        ),
        fold(
            delta_port(own.source_port, other.destination_port)
                + delta_port(own.destination_port, other.source_port),
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Ipv4;

    /// The whole sum, computed the long way over big-endian words.
    fn full(bytes: &[u8]) -> u16 {
        let sum: u32 = bytes
            .chunks(2)
            .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]))
            .sum();
        !fold(fold(sum).into())
    }

    #[test]
    fn an_incremental_update_equals_the_full_sum() {
        let mut packet = [
            0x45, 0, 0x12, 0x34, 10, 1, 2, 3, 192, 168, 255, 254, 0x9c, 0x40, 0, 80,
        ];
        let before = full(&packet).to_be();
        let new = Ipv4::new([203, 0, 113, 77]);
        let delta = delta_address(&Ipv4::new([10, 1, 2, 3]), &new) + delta_port(40000, 65535);
        packet[4..8].copy_from_slice(&new.octets);
        packet[12..14].copy_from_slice(&65535u16.to_be_bytes());
        assert_eq!(apply(before, delta), full(&packet).to_be());
    }
}
