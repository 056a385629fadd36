//! What a dropped packet is answered with: a TCP reset, or an ICMP error.

use kit::frame::{ETHERNET, flag, parse, protocol};

use super::{
    judge::MTU,
    reading::{Packet, word},
    world::World,
};

/// A reset to the sender of a segment (RFC 9293, section 3.10.7.1).
pub(super) fn reset(frame: &[u8], packet: &Packet, out: &[u8]) -> Result<(), String> {
    let seen = parse(out)?;
    let segment = packet.tcp.ok_or("a reset, and there was no segment")?;
    let ports = packet.ports.unwrap();
    back_to_sender(frame, packet, &seen)?;
    let ends = (seen.transport.destination, seen.transport.source);
    if seen.transport.protocol != protocol::TCP || ends != ports {
        return Err(format!("a reset to other ports: {seen:?}"));
    }
    let number =
        |at: usize| u32::from_be_bytes(seen.transport.rest[at..at + 4].try_into().unwrap());
    let (sequence, acknowledged, flags) = (number(0), number(4), seen.transport.rest[9]);
    let end = segment.sequence.wrapping_add(segment.length);
    let is_right = match segment.flags & flag::ACK != 0 {
        true => flags & flag::RST != 0 && sequence == segment.acknowledgement,
        false => flags == flag::RST | flag::ACK && (sequence, acknowledged) == (0, end),
    };
    match is_right {
        true => Ok(()),
        false => Err(format!(
            "a wrong reset: {flags:#x} {sequence} {acknowledged}, for {segment:?}"
        )),
    }
}

/// Types of ICMP and ICMPv6 messages.
pub(super) type Kinds = [(u8, u8); 2];
pub(super) const EXPIRED: Kinds = [(11, 0), (3, 0)];
pub(super) const TOO_BIG: Kinds = [(3, 4), (2, 0)];

/// An ICMP error to the sender, which quotes what it sent.
pub(super) fn told(
    world: &World,
    frame: &[u8],
    packet: &Packet,
    out: &[u8],
    kinds: &Kinds,
) -> Result<(), String> {
    let seen = parse(out)?;
    back_to_sender(frame, packet, &seen).or_else(|wrong| {
        // A router speaks with its own address, whichever the packet was for.
        let is_own = world.own().any(|own| *own == seen.source);
        if is_own && seen.destination == packet.source {
            Ok(())
        } else {
            Err(wrong)
        }
    })?;
    let (kind, code) = kinds[packet.family as usize];
    let message = &seen.transport.rest;
    if (message[0], message[1]) != (kind, code) {
        return Err(format!("type {} code {}", message[0], message[1]));
    }
    let mtu = usize::from(word(message, 6));
    if kinds == &TOO_BIG && !(1280..=MTU).contains(&mtu) {
        return Err(format!("an MTU of {mtu}"));
    }
    let quote = &message[8..];
    let least = (packet.body - ETHERNET + 8).min(packet.end - ETHERNET);
    if quote.len() < least || !frame[ETHERNET..].starts_with(quote) {
        return Err(format!("it quotes {quote:02x?}"));
    }
    Ok(())
}

fn back_to_sender(frame: &[u8], packet: &Packet, seen: &kit::frame::Seen) -> Result<(), String> {
    let is_back = (seen.source, seen.destination) == (packet.destination, packet.source);
    let is_for_neighbour = seen.to[..] == frame[6..12] && seen.from[..] == frame[..6];
    match is_back && is_for_neighbour && seen.ttl > 1 {
        true => Ok(()),
        false => Err(format!("not to the sender: {seen:?}")),
    }
}
