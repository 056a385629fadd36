//! Holds what came out against a case: every octet, and every checksum in full.
//!
//! Checksums are not recomputed the way a translator does. The one's complement sum over a header, or
//! over pseudo header and body, with the checksum in it, is a residue that translation must not change:
//! zero for a right checksum, anything else for a wrong one, which must stay wrong (RFC 1624).

use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

use kit::{
    APP_MACS, CLIENT_MAC, Family, NODE_BACKEND_MAC, NODE_MAC,
    frame::{ETHERNET, protocol, sum},
    verdict::{Action, Outcome, is_drop},
};

use super::{
    answers::{EXPIRED, TOO_BIG, reset, told},
    flow::Key,
    judge::{Case, Out},
    message::quote_at,
    reading::{Packet, Part, word},
    world::World,
};

/// What the subject chose where it had a choice.
#[derive(Clone, Copy, Debug)]
pub(super) enum Chosen {
    Nothing,
    Flow { backend: usize, source: SocketAddr },
}

/// Whether an outcome is the one of a case; if not, why.
pub(super) fn holds(
    world: &World,
    frame: &[u8],
    packet: Option<&Packet>,
    case: &Case,
    outcome: &Outcome,
) -> Result<Chosen, String> {
    if !case.names.contains(&outcome.verdict.as_str()) {
        return Err(format!("counted as {}", outcome.verdict));
    }
    let action = match case.out {
        Out::Same if is_drop(&outcome.verdict) => Action::Drop,
        Out::Same => Action::Pass,
        Out::Reset | Out::Expired | Out::TooBig => Action::Answer,
        _ => Action::Redirect,
    };
    if outcome.action != action {
        return Err(format!("{:?} instead of {action:?}", outcome.action));
    }
    let out = &outcome.frame;
    let (Some(packet), false) = (packet, matches!(case.out, Out::Same)) else {
        return if out == frame {
            Ok(Chosen::Nothing)
        } else {
            Err("it was changed".into())
        };
    };
    match &case.out {
        Out::Same => unreachable!("answered above"),
        Out::Between(source, destination) => {
            translated(frame, packet, out, (*source, *destination))?;
        }
        Out::Opened(candidates) => return opened(world, frame, packet, out, candidates),
        Out::Quoting {
            outer,
            inner,
            least,
        } => {
            let told = widened(frame, packet, *least);
            quoting(&told, packet, out, *outer, *inner)?;
            residue("message", &body(frame, packet), &body(out, packet))?;
        }
        Out::Reset => reset(frame, packet, out)?,
        Out::Expired => told(world, frame, packet, out, &EXPIRED)?,
        Out::TooBig => told(world, frame, packet, out, &TOO_BIG)?,
    }
    Ok(Chosen::Nothing)
}

/// A new flow: to one of the candidates, from a free source port of the range.
fn opened(
    world: &World,
    frame: &[u8],
    packet: &Packet,
    out: &[u8],
    candidates: &[usize],
) -> Result<Chosen, String> {
    let [source_at, destination_at] = packet.addresses_at();
    if out.len() != frame.len() {
        return Err(format!("{} octets instead of {}", out.len(), frame.len()));
    }
    let source = SocketAddr::new(address(&out[source_at]), word(out, packet.body));
    let destination = SocketAddr::new(address(&out[destination_at]), word(out, packet.body + 2));
    let is_it = |index: &&usize| world.backends[**index].address == destination;
    let Some(backend) = candidates.iter().find(is_it).copied() else {
        let wanted: Vec<_> = candidates
            .iter()
            .map(|i| world.backends[*i].address)
            .collect();
        return Err(format!("sent to {destination} instead of {wanted:?}"));
    };
    if source.ip() != world.translation(packet.family) || !world.range.contains(&source.port()) {
        return Err(format!("sent from {source}"));
    }
    translated(frame, packet, out, (source, destination))?;
    let key = Key {
        protocol: packet.protocol,
        from: destination,
        to: source,
    };
    if let Some((holder, _)) = world.keys.get(&key) {
        let flow = &world.flows[holder];
        if !flow.may_be_replaced() && !world.may_be_gone(flow) {
            return Err(format!("{source} belongs to a flow that lives: {flow:?}"));
        }
    }
    Ok(Chosen::Flow { backend, source })
}

/// The packet between other ends, with its time to live one less and nothing else changed.
fn translated(
    frame: &[u8],
    packet: &Packet,
    out: &[u8],
    ends: (SocketAddr, SocketAddr),
) -> Result<(), String> {
    let mut expected = frame.to_vec();
    readdress(&mut expected, packet, (ends.0.ip(), ends.1.ip()));
    let checksum = match (packet.protocol, packet.part) {
        (_, Part::Later { .. }) => None,
        (protocol::TCP, _) => Some(packet.body + 16),
        _ => Some(packet.body + 6),
    };
    if let Some(at) = checksum {
        let ports = [ends.0.port().to_be_bytes(), ends.1.port().to_be_bytes()].concat();
        expected[packet.body..packet.body + 4].copy_from_slice(&ports);
        mask(&mut expected, at..at + 2);
    }
    let mut masked = out.to_vec();
    compare(
        &mut expected,
        &mut masked,
        packet,
        checksum.map(|at| at..at + 2),
    )?;
    let Some(at) = checksum else { return Ok(()) };
    let is_unprotected = packet.protocol == protocol::UDP && word(frame, at) == 0;
    match (is_unprotected, word(out, at)) {
        (true, 0) => Ok(()),
        (true, now) => Err(format!("a datagram without a checksum got {now:#06x}")),
        (false, 0) if packet.protocol == protocol::UDP => Err("a checksum of zero".into()),
        _ => residue("checksum", &body(frame, packet), &body(out, packet)),
    }
}

/// The ICMP error between other ends, about a packet between other ends.
fn quoting(
    frame: &[u8],
    packet: &Packet,
    out: &[u8],
    outer: (IpAddr, IpAddr),
    inner: (SocketAddr, SocketAddr),
) -> Result<(), String> {
    let mut expected = frame.to_vec();
    readdress(&mut expected, packet, outer);
    let at = quote_at(packet);
    let (addresses, header, kind) = match packet.family {
        Family::V4 => (
            at + 12..at + 20,
            usize::from(frame[at] & 15) * 4,
            frame[at + 9],
        ),
        Family::V6 => (at + 8..at + 40, 40, frame[at + 6]),
    };
    let ends = [octets(inner.0.ip()), octets(inner.1.ip())].concat();
    expected[addresses].copy_from_slice(&ends);
    let body_at = at + header;
    let ports = [inner.0.port().to_be_bytes(), inner.1.port().to_be_bytes()].concat();
    expected[body_at..body_at + 4].copy_from_slice(&ports);
    let sum_at = body_at + if kind == protocol::TCP { 16 } else { 6 };
    let mut masked = out.to_vec();
    if masked.len() == expected.len() {
        if packet.family == Family::V4 {
            let header_sum = at + 10..at + 12;
            let residues = [frame, out].map(|bytes| bytes[at..at + header].to_vec());
            residue("quoted header", &residues[0], &residues[1])?;
            mask(&mut expected, header_sum.clone());
            mask(&mut masked, header_sum);
        }
        if sum_at + 2 <= packet.end {
            quoted_sum(frame, packet, out, (at, body_at, sum_at, kind))?;
            mask(&mut expected, sum_at..sum_at + 2);
            mask(&mut masked, sum_at..sum_at + 2);
        }
    }
    let message_sum = packet.body + 2..packet.body + 4;
    compare(&mut expected, &mut masked, packet, Some(message_sum))
}

/// The frame, with no smaller size in an error about one.
fn widened(frame: &[u8], packet: &Packet, least: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let message = &mut frame[packet.body..];
    let is_size = match packet.family {
        Family::V4 => message[..2] == [3, 4],
        Family::V6 => message[0] == 2,
    };
    if is_size && message[4..6] == [0, 0] && (0..least).contains(&word(message, 6)) {
        message[6..8].copy_from_slice(&least.to_be_bytes());
    }
    frame
}

/// The checksum of the quoted segment or datagram follows its addresses and ports.
fn quoted_sum(
    frame: &[u8],
    packet: &Packet,
    out: &[u8],
    (at, body_at, sum_at, kind): (usize, usize, usize, u8),
) -> Result<(), String> {
    let addresses = match packet.family {
        Family::V4 => at + 12..at + 20,
        Family::V6 => at + 8..at + 40,
    };
    let whole = |bytes: &[u8]| [&bytes[addresses.clone()], &bytes[body_at..packet.end]].concat();
    if kind == protocol::UDP && word(frame, sum_at) == 0 {
        return match word(out, sum_at) {
            0 => Ok(()),
            now => Err(format!(
                "a quoted datagram without a checksum got {now:#06x}"
            )),
        };
    }
    // Of a segment more must be quoted than anybody may rely on: it may stay as it is (RFC 5508).
    if kind == protocol::TCP && frame[sum_at..sum_at + 2] == out[sum_at..sum_at + 2] {
        return Ok(());
    }
    residue("quoted checksum", &whole(frame), &whole(out))
}

/// Writes addresses, and the time to live of the next hop.
fn readdress(frame: &mut [u8], packet: &Packet, (source, destination): (IpAddr, IpAddr)) {
    let [source_at, destination_at] = packet.addresses_at();
    frame[source_at].copy_from_slice(&octets(source));
    frame[destination_at].copy_from_slice(&octets(destination));
    frame[packet.ttl_at()] -= 1;
}

/// Compares all octets but checksums, and the checksum of an IPv4 header.
fn compare(
    expected: &mut [u8],
    out: &mut [u8],
    packet: &Packet,
    checksum: Option<Range<usize>>,
) -> Result<(), String> {
    if out.len() != expected.len() {
        return Err(format!(
            "{} octets instead of {}",
            out.len(),
            expected.len()
        ));
    }
    // A fragmented datagram leaves with an identification of its own.
    if packet.part != Part::Whole {
        let at = match packet.family {
            Family::V4 => ETHERNET + 4..ETHERNET + 6,
            Family::V6 => packet.body - 4..packet.body,
        };
        expected[at.clone()].copy_from_slice(&out[at]);
    }
    if packet.family == Family::V4 {
        let header = ETHERNET..ETHERNET + usize::from(out[ETHERNET] & 15) * 4;
        // The expected header still has the checksum of the frame that came in.
        let mut was = expected[header.clone()].to_vec();
        was[10..12].fill(0);
        let mut now = out[header].to_vec();
        now[10..12].fill(0);
        if was != now {
            return Err(format!("header {now:02x?} instead of {was:02x?}"));
        }
        mask(expected, 24..26);
        mask(out, 24..26);
    }
    if let Some(range) = checksum {
        mask(expected, range.clone());
        mask(out, range);
    }
    hardware(expected, out)?;
    if expected[12..] != out[12..] {
        return Err(format!("expected (without checksums)\n  {expected:02x?}"));
    }
    Ok(())
}

/// Hardware addresses stay, for the kernel to write, or are those of a neighbour and of the interface
/// that leads to it.
fn hardware(expected: &[u8], out: &[u8]) -> Result<(), String> {
    let towards_client = [CLIENT_MAC, NODE_MAC].concat();
    let towards_app = APP_MACS.map(|app| [app, NODE_BACKEND_MAC].concat());
    let is_known = out[..12] == expected[..12]
        || out[..12] == towards_client
        || towards_app.iter().any(|pair| out[..12] == pair[..]);
    match is_known {
        true => Ok(()),
        false => Err(format!("hardware addresses {:02x?}", &out[..12])),
    }
}

/// What a transport checksum covers: addresses, and the octets that the packet has of the body.
fn body(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let [source, destination] = packet.addresses_at();
    let body = &frame[packet.body..packet.end];
    match (packet.protocol, packet.family) {
        (protocol::ICMP, Family::V4) => body.to_vec(),
        _ => [&frame[source], &frame[destination], body].concat(),
    }
}

fn residue(what: &str, before: &[u8], after: &[u8]) -> Result<(), String> {
    // A sum of zero has two forms.
    let of = |bytes: &[u8]| match sum(&[bytes]) {
        0xffff => 0,
        other => other,
    };
    match of(before) == of(after) {
        true => Ok(()),
        false => Err(format!(
            "{what}: residue {:#x}, was {:#x}",
            of(after),
            of(before)
        )),
    }
}

/// The residue of the outer IPv4 header; the header's own checksum is in it.
pub(super) fn header_residue(
    frame: &[u8],
    packet: Option<&Packet>,
    outcome: &Outcome,
) -> Result<(), String> {
    let is_out = outcome.action == Action::Redirect && outcome.verdict == "forward";
    match packet.filter(|packet| is_out && packet.family == Family::V4) {
        None => Ok(()),
        Some(_) => {
            let header = |bytes: &[u8]| {
                let length = usize::from(bytes[ETHERNET] & 15) * 4;
                bytes[ETHERNET..ETHERNET + length].to_vec()
            };
            residue("IPv4 header", &header(frame), &header(&outcome.frame))
        }
    }
}

fn mask(bytes: &mut [u8], range: Range<usize>) {
    bytes[range].fill(0);
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(octets: &[u8]) -> IpAddr {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).unwrap().into(),
        _ => <[u8; 16]>::try_from(octets).unwrap().into(),
    }
}
