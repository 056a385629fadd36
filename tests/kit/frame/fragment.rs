//! Packets in parts (RFC 791, RFC 8200).

use super::{ETHERNET, Extension, Frame, Packet, Transport, parse, sum};

/// The parts of a frame's packet, each with at most `size` octets of what it carries; `size` is
/// rounded down to whole words of eight octets. An IPv6 packet must have no extensions.
pub fn fragments(frame: &Frame, size: usize, id: u32) -> Vec<Frame> {
    let (protocol, body) = match &frame.packet {
        Packet::Ipv4(ip) => (ip.transport).bytes(&ip.source.octets(), &ip.destination.octets()),
        Packet::Ipv6(ip) => {
            assert!(
                ip.extensions.is_empty(),
                "extensions in front of a fragment"
            );
            (ip.transport).bytes(&ip.source.octets(), &ip.destination.octets())
        }
        Packet::Raw(..) => panic!("no IP packet"),
    };
    let size = size / 8 * 8;
    let count = body.chunks(size).count();
    let part = |(index, bytes): (usize, &[u8])| {
        let offset = u16::try_from(index * size).unwrap();
        let more = u16::from(index + 1 < count);
        let mut frame = frame.clone();
        let transport = Transport::Raw(protocol, bytes.to_vec());
        match &mut frame.packet {
            Packet::Ipv4(ip) => {
                (ip.id, ip.fragment) = (id as u16, (more << 13) | (offset / 8));
                ip.transport = transport;
            }
            Packet::Ipv6(ip) => {
                let offset = offset | more;
                ip.extensions = vec![Extension::Fragment { offset, id }];
                ip.transport = transport;
            }
            Packet::Raw(..) => unreachable!("refused above"),
        }
        frame
    };
    body.chunks(size).enumerate().map(part).collect()
}

/// Puts frames with all parts of one packet together, in whatever order they are; the result can be
/// parsed, which verifies its checksum.
pub fn reassemble<F: AsRef<[u8]>>(frames: &[F]) -> Result<Vec<u8>, String> {
    let mut parts = Vec::new();
    for frame in frames {
        let seen = parse(frame.as_ref())?;
        let part = seen.part().ok_or("a whole packet among the fragments")?;
        let frame = frame.as_ref();
        let is_ipv4 = seen.source.is_ipv4();
        let header = ETHERNET + if is_ipv4 { 20 } else { 40 } + seen.options.len();
        let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
        let end = match is_ipv4 {
            true => ETHERNET + length,
            false => {
                let length = u16::from_be_bytes([frame[18], frame[19]]);
                ETHERNET + 40 + usize::from(length)
            }
        };
        parts.push((part, frame[header..end].to_vec(), frame[..header].to_vec()));
    }
    parts.sort_by_key(|(part, ..)| part.offset);
    let mut body = Vec::new();
    for (part, bytes, _) in &parts {
        if part.offset != body.len() {
            return Err(format!(
                "{} octets, then offset {}",
                body.len(),
                part.offset
            ));
        }
        body.extend(bytes);
    }
    let (last, ..) = parts.last().ok_or("no fragments")?;
    if !last.is_last {
        return Err("the last fragment is missing".into());
    }
    Ok(whole(&parts[0].2, &body))
}

/// A frame with the first fragment's headers and the whole body.
fn whole(head: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = head.to_vec();
    if head[ETHERNET] >> 4 == 4 {
        let length = u16::try_from(head.len() - ETHERNET + body.len()).unwrap();
        bytes[16..18].copy_from_slice(&length.to_be_bytes());
        bytes[20..22].fill(0);
        bytes[24..26].fill(0);
        let checksum = sum(&[&bytes[ETHERNET..]]);
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    } else {
        // The fragment header is the only extension that the builder and the kernel put here.
        bytes[20] = head[ETHERNET + 40];
        bytes.truncate(ETHERNET + 40);
        let length = u16::try_from(body.len()).unwrap();
        bytes[18..20].copy_from_slice(&length.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}
