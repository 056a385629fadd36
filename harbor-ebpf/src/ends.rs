//! Whether a traced packet is one of the client and of the public port that are asked for.
//!
//! What cannot be read here in a few steps (an ICMP error, a fragment, another header between) may be
//! meant: whoever reads the trace looks at everything that is told once more.

use harbor_common::trace::Traced;

use crate::{bound::masked, config};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// More fragments, and the offset.
const FRAGMENT: u16 = 0x3fff;

type Octets = [u8; 2 * Traced::OCTETS];

/// Whose an end of a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Sender,
    Receiver,
}

/// An address, as an IPv6 one or a mapped one in network order, and a port.
///
/// Not an `Option`: of what a `None` leaves open LLVM makes registers that nobody has written, and the
/// verifier refuses to read them.
#[derive(Clone, Copy)]
struct End {
    is_known: bool,
    address: [u32; 4],
    port: u16,
}

const UNKNOWN: End = End {
    is_known: false,
    address: [0; 4],
    port: 0,
};

/// Whether no end is asked for.
#[inline(always)]
pub fn is_every_one_traced() -> bool {
    let (client, _, port) = config::traced_ends();
    port == 0 && client == [0; 4]
}

/// Whether a packet that came in so may be one of those: by what it is, or by what it is to become.
#[inline(always)]
pub fn may_be_meant(octets: &Octets) -> bool {
    if is_every_one_traced() {
        return true;
    }
    let receiver = end(octets, 0, Side::Receiver);
    !receiver.is_known || config::is_source_port(receiver.port) || has_come(octets, &receiver)
}

/// Whether a packet is one of those that came in as the octets begin, and leaves as they go on there.
#[inline(always)]
pub fn is_meant(octets: &Octets, leaving: usize) -> bool {
    if is_every_one_traced() {
        return true;
    }
    let receiver = end(octets, 0, Side::Receiver);
    if !receiver.is_known || has_come(octets, &receiver) {
        return true;
    }
    let client = end(octets, leaving, Side::Receiver);
    !client.is_known || is_between(&client, &end(octets, leaving, Side::Sender))
}

#[inline(always)]
fn has_come(octets: &Octets, receiver: &End) -> bool {
    is_between(&end(octets, 0, Side::Sender), receiver)
}

#[inline(always)]
fn is_between(client: &End, public: &End) -> bool {
    let (address, client_port, public_port) = config::traced_ends();
    (public_port == 0 || public_port == public.port)
        && (address == [0; 4] || address == client.address)
        && (client_port == 0 || client_port == client.port)
}

/// An end of the frame that begins there.
#[inline(always)]
fn end(octets: &Octets, at: usize, side: Side) -> End {
    let second = usize::from(side == Side::Receiver);
    let word = |from: usize| {
        u32::from_ne_bytes([0, 1, 2, 3].map(|index| octet(octets, at + from + index)))
    };
    let (address, protocol, transport) = match half(octets, at + 12) {
        IPV4 if half(octets, at + 20) & FRAGMENT == 0 => {
            let mapped = [0, 0, 0xffff_u32.to_be(), word(26 + 4 * second)];
            let header = usize::from(octet(octets, at + 14) & 0xf) * 4;
            (mapped, octet(octets, at + 23), 14 + header)
        }
        IPV6 => {
            let from = 22 + 16 * second;
            let whole = [0, 4, 8, 12].map(|index| word(from + index));
            (whole, octet(octets, at + 20), 54)
        }
        _ => return UNKNOWN,
    };
    match protocol {
        TCP | UDP => End {
            is_known: true,
            address,
            port: half(octets, at + transport + 2 * second),
        },
        _ => UNKNOWN,
    }
}

#[inline(always)]
fn half(octets: &Octets, at: usize) -> u16 {
    u16::from_be_bytes([octet(octets, at), octet(octets, at + 1)])
}

#[inline(always)]
fn octet(octets: &Octets, at: usize) -> u8 {
    octets[masked::<{ 2 * Traced::OCTETS - 1 }>(at)]
}
