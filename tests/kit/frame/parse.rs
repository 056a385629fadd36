//! From bytes to fields, with every length and checksum verified.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{ETHERNET, Seen, SeenTransport, ethertype, octets, protocol, pseudo, sum};

/// Reads a frame; says what is wrong with it, if anything is. Checksums of fragments cannot be
/// verified one by one: [`super::reassemble`] first.
pub fn parse(frame: &[u8]) -> Result<Seen, String> {
    if frame.len() < ETHERNET {
        return Err(format!("{} bytes are no frame", frame.len()));
    }
    let mut seen = match word(frame, 12) {
        ethertype::IPV4 => ipv4(&frame[ETHERNET..])?,
        ethertype::IPV6 => ipv6(&frame[ETHERNET..])?,
        kind => return Err(format!("EtherType {kind:#06x}")),
    };
    (seen.to, seen.from) = (array(frame, 0), array(frame, 6));
    Ok(seen)
}

/// Reads a packet without a frame around it; its hardware addresses are zero.
pub fn parse_packet(packet: &[u8]) -> Result<Seen, String> {
    match packet.first().map(|first| first >> 4) {
        Some(4) => ipv4(packet),
        Some(6) => ipv6(packet),
        _ => Err("no IP packet".into()),
    }
}

fn ipv4(packet: &[u8]) -> Result<Seen, String> {
    if packet.len() < 20 {
        return Err(format!("{} bytes are no IPv4 header", packet.len()));
    }
    let header = usize::from(packet[0] & 15) * 4;
    let total = usize::from(word(packet, 2));
    if packet[0] >> 4 != 4 || header < 20 || total < header || total > packet.len() {
        return Err(format!(
            "version and header {:#04x}, length {total}",
            packet[0]
        ));
    }
    let (head, body) = (&packet[..header], &packet[header..total]);
    if sum(&[head]) != 0 {
        return Err(format!("the IP header's checksum is wrong: {head:02x?}"));
    }
    let mut seen = Seen {
        to: [0; 6],
        from: [0; 6],
        source: Ipv4Addr::from(array(head, 12)).into(),
        destination: Ipv4Addr::from(array(head, 16)).into(),
        ttl: head[8],
        tos: head[1],
        label: 0,
        id: word(head, 4).into(),
        fragment: word(head, 6),
        options: head[20..].to_vec(),
        transport: unread(head[9], body),
    };
    carry(&mut seen, body)?;
    Ok(seen)
}

fn ipv6(packet: &[u8]) -> Result<Seen, String> {
    if packet.len() < 40 {
        return Err(format!("{} bytes are no IPv6 header", packet.len()));
    }
    let end = 40 + usize::from(word(packet, 4));
    if packet[0] >> 4 != 6 || end > packet.len() {
        return Err(format!("version {:#04x}, length {end}", packet[0]));
    }
    let first = u32::from_be_bytes(array(packet, 0));
    let mut seen = Seen {
        to: [0; 6],
        from: [0; 6],
        source: Ipv6Addr::from(array::<16>(packet, 8)).into(),
        destination: Ipv6Addr::from(array::<16>(packet, 24)).into(),
        ttl: packet[7],
        tos: (first >> 20) as u8,
        label: first & 0xf_ffff,
        id: 0,
        fragment: 0,
        options: Vec::new(),
        transport: unread(packet[6], &[]),
    };
    let body = extensions(&mut seen, packet[6], &packet[40..end])?;
    carry(&mut seen, body)?;
    Ok(seen)
}

/// Walks over extension headers to what the packet carries.
fn extensions<'a>(seen: &mut Seen, mut next: u8, mut rest: &'a [u8]) -> Result<&'a [u8], String> {
    loop {
        let length = match next {
            protocol::HOP_BY_HOP | protocol::DESTINATION | protocol::ROUTING => {
                rest.get(1).map(|words| 8 + 8 * usize::from(*words))
            }
            protocol::FRAGMENT => Some(8),
            _ => break,
        };
        let header = length.and_then(|length| rest.get(..length));
        let header = header.ok_or("an extension header is cut off")?;
        if next == protocol::FRAGMENT {
            (seen.fragment, seen.id) = (word(header, 2), u32::from_be_bytes(array(header, 4)));
        }
        seen.options.extend(header);
        next = header[0];
        rest = &rest[header.len()..];
        if seen.part().is_some_and(|part| part.offset > 0) {
            break;
        }
    }
    seen.transport = unread(next, rest);
    Ok(rest)
}

fn unread(protocol: u8, body: &[u8]) -> SeenTransport {
    SeenTransport {
        protocol,
        source: 0,
        destination: 0,
        rest: body.to_vec(),
        is_unprotected: false,
    }
}

/// Reads and verifies what a packet carries.
fn carry(seen: &mut Seen, body: &[u8]) -> Result<(), String> {
    let part = seen.part();
    if part.is_some_and(|part| part.offset > 0) {
        return Ok(());
    }
    let protocol = seen.transport.protocol;
    let is_ipv4 = seen.source.is_ipv4();
    let (shortest, at) = match protocol {
        protocol::TCP => (20, 16),
        protocol::UDP => (8, 6),
        protocol::ICMP if is_ipv4 => (8, 2),
        protocol::ICMPV6 if !is_ipv4 => (8, 2),
        other => return Err(format!("protocol {other}")),
    };
    if body.len() < shortest {
        return Err(format!("{} bytes of protocol {protocol}", body.len()));
    }
    let is_unprotected = protocol == protocol::UDP && word(body, at) == 0;
    if is_unprotected && !is_ipv4 {
        return Err("a datagram over IPv6 without a checksum".into());
    }
    if part.is_none() {
        verify(seen, body, is_unprotected)?;
    }
    let ported = if matches!(protocol, protocol::TCP | protocol::UDP) {
        4
    } else {
        0
    };
    let mut rest = body[ported..].to_vec();
    rest[at - ported..at - ported + 2].fill(0);
    let port = |at: usize| if ported == 0 { 0 } else { word(body, at) };
    seen.transport = SeenTransport {
        protocol,
        source: port(0),
        destination: port(2),
        rest,
        is_unprotected,
    };
    Ok(())
}

/// Length and checksum of a whole segment, datagram or message.
fn verify(seen: &Seen, body: &[u8], is_unprotected: bool) -> Result<(), String> {
    let protocol = seen.transport.protocol;
    if protocol == protocol::UDP && usize::from(word(body, 4)) != body.len() {
        return Err(format!(
            "a datagram of {} bytes says {}",
            body.len(),
            word(body, 4)
        ));
    }
    let (source, destination) = (octets(seen.source), octets(seen.destination));
    let pseudo = match protocol {
        protocol::ICMP => Vec::new(),
        _ => pseudo(&source, &destination, protocol, body.len()),
    };
    if !is_unprotected && sum(&[&pseudo, body]) != 0 {
        return Err(format!("the checksum of protocol {protocol} is wrong"));
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}
