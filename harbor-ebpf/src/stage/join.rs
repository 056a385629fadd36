//! Tells a request to join a connection of Multipath TCP (RFC 8684, section 3.2) from one for a new
//! connection.
//!
//! Only the token in it says which backend has that connection, and a client whose request is reset
//! does without the second path. Such a request takes no turn, or clients with two addresses would
//! all be sent to one of two backends.

use network_types::tcp::TcpHdr;

use crate::packet::Packet;
use crate::parsed::Parsed;

/// The header of an ordinary SYN has at most 40 octets, with the options that all have: segment
/// size, window scale, selective acknowledgments, timestamps.
const ORDINARY: u32 = 40;
/// Octets of the option.
const JOIN: u8 = 12;
/// "Multipath TCP" (IANA), and its subtype in the upper half of the next octet but one.
const KIND: u8 = 30;
const SUBTYPE: u8 = 0x10;

/// Whether a packet that opens a flow would join a connection. Linux and others put the option
/// last, before any padding.
#[inline(never)]
pub fn is_join<A, P: Packet>(packet: &mut P, parsed: &Parsed<A>) -> bool {
    let header = parsed.tcp.header;
    if header <= ORDINARY {
        return false;
    }
    // The longest header has 60 octets.
    packet.pull(parsed.l4() + 60);
    let mut at = TcpHdr::LEN;
    while at <= 48 {
        let start = parsed.l4() + at;
        if let Some(&[kind, length, subtype, _]) = packet.view::<[u8; 4]>(start)
            && kind == KIND
            && length == JOIN
            && subtype & 0xf0 == SUBTYPE
            && (at as u32) < header
        {
            return true;
        }
        // Options begin at multiples of four where the sender pads them.
        at += 4;
    }
    false
}

#[cfg(test)]
mod tests {
    use harbor_common::addr::Ipv4;

    use super::*;
    use crate::{
        parsed::Kind,
        stage::parse::Parse,
        testing::{Frame, tcp},
    };

    fn is_join_with(options: &[u8]) -> bool {
        let mut octets = tcp();
        octets.truncate(54);
        octets.extend_from_slice(options);
        octets[46] = (((20 + options.len()) / 4) << 4) as u8;
        octets[17] = (40 + options.len()) as u8;
        let mut frame = Frame::new(&octets);
        let mut parsed = Parsed::<Ipv4>::default();
        assert_eq!(Ipv4::parse(&mut frame, &mut parsed), Ok(Kind::Whole));
        is_join(&mut frame, &parsed)
    }

    #[test]
    fn a_join_is_told_from_a_beginning_and_from_a_fast_open() {
        let usual = [
            2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ];
        let join = [30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        let begin = [30, 4, 0x01, 0x01];
        let cookie = [34, 10, 30, 12, 0x10, 1, 1, 1, 1, 1, 1, 1];
        assert!(is_join_with(&[&usual[..], &join].concat()));
        assert!(!is_join_with(&usual));
        assert!(!is_join_with(&[&usual[..], &begin].concat()));
        assert!(!is_join_with(&[&usual[..], &cookie].concat()));
    }
}
