//! Whether an ICMP error can be true (RFC 5927): anybody can send one, and little in it is hard to
//! guess.

use harbor_common::{
    checksum,
    flow::{Flow, Marks},
    protocol::Protocol,
};

use crate::{
    family::Stack,
    ip::pseudo_header,
    stage::icmp::Quoted,
    state::{LEAP, opposite_key},
    table::opposite,
    way::Way,
};

/// Whether an error about a packet of this flow can be true: it comes from where that packet went,
/// from a sender who can know, and quotes what was sent. `way` is the flow in the direction of the
/// error.
#[inline(never)]
pub fn is_credible<A: Stack>(quoted: &Quoted<A>, way: &Way<A>, ingress: u32) -> bool {
    // Only the host itself can know that its port is closed.
    if quoted.is_from_receiver && !quoted.is_sent_by_receiver() {
        return false;
    }
    let Some(sent) = opposite(&opposite_key(way, quoted.key.protocol), way.word) else {
        return false;
    };
    // SAFETY: from the lookup in `opposite`; a recycled element fails the checks below, or the
    // flow's next packet finds its successor.
    let sent: &Flow<A> = unsafe { &*sent };
    // An error about a packet to a backend comes in on the backends' side. Packets of clients may
    // leave and come in by several uplinks.
    let is_from_clients = way.direction == Flow::<A>::FORWARD && ingress != way.ifindex;
    if ingress != sent.ifindex && !is_from_clients {
        return false;
    }
    match quoted.protocol {
        Protocol::Tcp => sent.next_sequence.wrapping_sub(quoted.sequence) < LEAP,
        Protocol::Udp => has_sent(sent, quoted, way),
    }
}

/// Whether one of the latest datagrams left with the checksum that is quoted.
#[inline(never)]
fn has_sent<A: Stack>(sent: &Flow<A>, quoted: &Quoted<A>, way: &Way<A>) -> bool {
    let arrived = opposite_key(way, quoted.key.protocol);
    let pending = checksum::fold(pseudo_header(
        &arrived.source,
        &arrived.destination,
        arrived.protocol as u8,
        u16::from_be(quoted.datagram_length),
    ));
    let delta = u32::from(sent.address_delta) + u32::from(sent.port_delta);
    let mut marks = Marks::of(sent.acknowledged, sent.next_sequence).0;
    while marks != 0 {
        let mark = marks as u16;
        // Nobody can know a checksum that a device finished on the way out.
        if mark == pending && mark != 0 || mark == Marks::ANY {
            return true;
        }
        let is_bare = quoted.datagram_check == 0;
        if is_bare && mark == quoted.datagram_length {
            return true;
        }
        if !is_bare && finished(checksum::apply(mark, delta)) == quoted.datagram_check {
            return true;
        }
        marks >>= 16;
    }
    false
}

/// A checksum as UDP writes it: 0 would mean that there is none.
#[inline(always)]
const fn finished(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}
