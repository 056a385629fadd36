//! What a frame says, read from the RFCs: what must be left to the host whatever else it is, what may
//! be, and where the fields lie that a translation changes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kit::{
    Family,
    frame::{ETHERNET, ethertype, protocol, sum},
};

use super::{flow::Is, sums::summed};

/// Names of verdicts.
pub(super) type Names = Vec<&'static str>;

/// A frame as it was read.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    /// Reasons for which it must be passed; any may be named.
    pub(super) must_pass: Names,
    /// Reasons for which it may be passed: contradictions that a forwarder need not look for.
    pub(super) may_pass: Names,
    /// Its packet, as far as it can be read.
    pub(super) packet: Option<Packet>,
}

/// An IP packet in a frame.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    /// The hardware address that the frame is for: which of the node's interfaces it came in by.
    pub(super) hardware: [u8; 6],
    pub(super) family: Family,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// What it carries, behind all extension headers that were understood.
    pub(super) protocol: u8,
    /// Where in the frame that begins, and where the packet ends.
    pub(super) body: usize,
    pub(super) end: usize,
    pub(super) options: Options,
    pub(super) part: Part,
    /// A whole packet with a fragment header (RFC 6946).
    pub(super) is_atomic: bool,
    /// IPv4: must not be fragmented. IPv6 packets never are on their way.
    pub(super) is_whole_only: bool,
    /// Source and destination port of TCP and UDP.
    pub(super) ports: Option<(u16, u16)>,
    pub(super) tcp: Option<Segment>,
    /// The checksum of what it carries, as it stands there.
    pub(super) check: u16,
    /// Whether that is right, or will be: a device may have to finish it.
    pub(super) is_right: Is,
}

/// What lies between the plain header and what a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Options {
    None,
    /// IPv4 options; up to four headers of hop-by-hop and destination options.
    Known,
    /// Anything else.
    Strange,
}

/// Which part of a packet this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    First { id: u32 },
    Later { id: u32, is_last: bool },
}

/// The fields of a TCP header that decide.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) flags: u8,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    /// Sequence numbers that it takes: data, SYN and FIN.
    pub(super) length: u32,
}

/// How many extension headers a forwarder walks over.
const MOST_EXTENSIONS: usize = 4;
const CUT: [&str; 2] = ["malformed", "truncated"];

/// Reads a frame that came in by the interface with this hardware address.
pub(super) fn read(frame: &[u8], hardware: [u8; 6]) -> Reading {
    let mut reading = Reading::default();
    if frame[..6] != hardware {
        reading.must_pass.push("other-host");
    }
    let packet = match word(frame, 12) {
        ethertype::IPV4 => ipv4(frame, &mut reading),
        ethertype::IPV6 => ipv6(frame, &mut reading),
        _ => {
            reading.must_pass.push("not-ip");
            return reading;
        }
    };
    let Some(mut packet) = packet else {
        // Nothing behind the contradiction can be relied on: any other reason is as true.
        reading.must_pass.extend(CUT);
        reading.must_pass.extend([
            "fragment",
            "icmp",
            "ip-options",
            "not-ours",
            "other-protocol",
        ]);
        return reading;
    };
    if !matches!(packet.part, Part::Later { .. }) {
        carried(frame, &mut packet, &mut reading);
    }
    reading.packet = Some(packet);
    reading
}

fn ipv4(frame: &[u8], reading: &mut Reading) -> Option<Packet> {
    let head = frame.get(ETHERNET..ETHERNET + 20)?;
    let (header, total) = (usize::from(head[0] & 15) * 4, usize::from(word(head, 2)));
    let end = ETHERNET + total;
    if head[0] >> 4 != 4 || header < 20 || total < header || ETHERNET + header > frame.len() {
        return None;
    }
    if end > frame.len() {
        reading.must_pass.extend(CUT);
    }
    let end = end.min(frame.len());
    let (id, bits) = (u32::from(word(head, 4)), word(head, 6));
    let (more, offset) = (bits & 0x2000 != 0, bits & 0x1fff);
    if bits & 0x8000 != 0 || bits & 0x4000 != 0 && (more || offset != 0) {
        reading.may_pass.extend(["malformed", "fragment"]);
    }
    if sum(&[&frame[ETHERNET..ETHERNET + header]]) != 0 {
        reading.may_pass.push("malformed");
    }
    Some(Packet {
        hardware: array(frame, 0),
        family: Family::V4,
        source: Ipv4Addr::from(array(head, 12)).into(),
        destination: Ipv4Addr::from(array(head, 16)).into(),
        ttl: head[8],
        protocol: head[9],
        body: ETHERNET + header,
        end,
        options: if header > 20 {
            Options::Known
        } else {
            Options::None
        },
        part: part(offset != 0, more, id),
        is_atomic: false,
        is_whole_only: bits & 0x4000 != 0,
        ports: None,
        tcp: None,
        check: 0,
        is_right: Is::Maybe,
    })
}

fn part(has_offset: bool, more: bool, id: u32) -> Part {
    match (has_offset, more) {
        (false, false) => Part::Whole,
        (false, true) => Part::First { id },
        (true, more) => Part::Later { id, is_last: !more },
    }
}

fn ipv6(frame: &[u8], reading: &mut Reading) -> Option<Packet> {
    let head = frame.get(ETHERNET..ETHERNET + 40)?;
    let end = ETHERNET + 40 + usize::from(word(head, 4));
    if head[0] >> 4 != 6 {
        return None;
    }
    if end > frame.len() {
        reading.must_pass.extend(CUT);
    }
    let end = end.min(frame.len());
    let mut packet = Packet {
        hardware: array(frame, 0),
        family: Family::V6,
        source: Ipv6Addr::from(array::<16>(head, 8)).into(),
        destination: Ipv6Addr::from(array::<16>(head, 24)).into(),
        ttl: head[7],
        protocol: head[6],
        body: ETHERNET + 40,
        end,
        options: Options::None,
        part: Part::Whole,
        is_atomic: false,
        is_whole_only: true,
        ports: None,
        tcp: None,
        check: 0,
        is_right: Is::Maybe,
    };
    extensions(frame, &mut packet, reading)?;
    // Behind the last header that was walked over there is not even another one.
    if packet.options != Options::None && packet.end - packet.body < 8 {
        reading.may_pass.extend(CUT);
    }
    Some(packet)
}

/// Walks over extension headers as far as they can be understood.
fn extensions(frame: &[u8], packet: &mut Packet, reading: &mut Reading) -> Option<()> {
    for count in 0.. {
        let is_known = match packet.protocol {
            protocol::HOP_BY_HOP => {
                if count > 0 {
                    // Only allowed as the first (RFC 8200, section 4.1).
                    reading
                        .may_pass
                        .extend(["malformed", "ip-options", "other-protocol"]);
                }
                true
            }
            protocol::DESTINATION | protocol::FRAGMENT => true,
            // Routing, encapsulating security, authentication, none, mobility, host identity, shim6.
            43 | 50 | 51 | 59 | 135 | 139 | 140 => {
                packet.options = Options::Strange;
                return Some(());
            }
            _ => return Some(()),
        };
        if !is_known || count == MOST_EXTENSIONS {
            packet.options = Options::Strange;
            return Some(());
        }
        let header = frame.get(packet.body..packet.end)?.get(..8)?;
        let length = match packet.protocol {
            protocol::FRAGMENT => 8,
            _ => 8 + 8 * usize::from(header[1]),
        };
        if packet.body + length > packet.end {
            return None;
        }
        let was = packet.protocol;
        (packet.protocol, packet.body) = (header[0], packet.body + length);
        if was != protocol::FRAGMENT {
            packet.options = Options::Known;
            continue;
        }
        let bits = word(header, 2);
        if packet.part != Part::Whole {
            reading
                .may_pass
                .extend(["malformed", "fragment", "ip-options"]);
        }
        packet.part = part(
            bits & 0xfff8 != 0,
            bits & 1 != 0,
            u32::from_be_bytes(array(header, 4)),
        );
        match packet.part {
            Part::Whole => {
                packet.is_atomic = true;
                reading.may_pass.extend(["fragment", "ip-options"]);
            }
            Part::First { .. } => {}
            Part::Later { .. } => return Some(()),
        }
    }
    Some(())
}

/// Reads the header of what the packet, or its first fragment, carries.
fn carried(frame: &[u8], packet: &mut Packet, reading: &mut Reading) {
    let body = &frame[packet.body..packet.end];
    let (shortest, is_ported) = match (packet.protocol, packet.family) {
        (protocol::TCP, _) => (20, true),
        (protocol::UDP, _) => (8, true),
        (protocol::ICMP, Family::V4) | (protocol::ICMPV6, Family::V6) => (8, false),
        _ => return,
    };
    if packet.options == Options::Strange {
        return;
    }
    let is_first = matches!(packet.part, Part::First { .. });
    if is_ported && body.len() >= 4 {
        packet.ports = Some((word(body, 0), word(body, 2)));
        if word(body, 0) == 0 || word(body, 2) == 0 {
            reading.may_pass.push("malformed");
        }
    }
    if body.len() < shortest {
        if is_first && packet.ports.is_some() {
            reading.may_pass.extend(CUT);
        } else {
            reading.must_pass.extend(CUT);
        }
        return;
    }
    match packet.protocol {
        protocol::TCP => {
            segment(body, packet, reading);
            packet.check = word(body, 16);
            packet.is_right = summed(frame, packet, body.len());
        }
        protocol::UDP => {
            packet.check = word(body, 6);
            let length = usize::from(word(body, 4));
            if (8..=body.len()).contains(&length) {
                packet.is_right = summed(frame, packet, length);
            }
            let (length, checksum) = (usize::from(word(body, 4)), word(body, 6));
            let is_true = length == body.len() || is_first && length > body.len();
            // Over IPv6 a datagram without a checksum is to be thrown away (RFC 8200, section 8.1).
            if !is_true || checksum == 0 && packet.family == Family::V6 {
                reading.may_pass.extend(CUT);
            }
        }
        _ => {}
    }
}

fn segment(body: &[u8], packet: &mut Packet, reading: &mut Reading) {
    let header = usize::from(body[12] >> 4) * 4;
    let flags = body[13];
    if header < 20 || header > body.len() {
        reading.may_pass.extend(CUT);
    }
    let data = body.len().saturating_sub(header);
    packet.tcp = Some(Segment {
        flags,
        sequence: u32::from_be_bytes(array(body, 4)),
        acknowledgement: u32::from_be_bytes(array(body, 8)),
        length: u32::try_from(data).unwrap() + u32::from(flags & 1) + u32::from(flags >> 1 & 1),
    });
}

impl Packet {
    /// Why this packet could be passed if it is nobody's: any of these names it rightly.
    pub(super) fn kinds(&self) -> Names {
        let mut names = Names::new();
        let is_icmp = match self.family {
            Family::V4 => self.protocol == protocol::ICMP,
            Family::V6 => self.protocol == protocol::ICMPV6,
        };
        if is_icmp {
            names.push("icmp");
            // Behind extension headers it is one more protocol that is none of ours.
            if self.options != Options::None || self.is_atomic {
                names.push("other-protocol");
            }
        } else if ![protocol::TCP, protocol::UDP].contains(&self.protocol) {
            names.push("other-protocol");
        }
        if self.options != Options::None {
            names.push("ip-options");
        }
        if self.options == Options::Strange {
            names.push("other-protocol");
        }
        if self.part != Part::Whole {
            names.push("fragment");
        }
        names
    }

    /// Whether it is more than a plain header with a whole segment or datagram.
    pub(super) fn is_odd(&self) -> bool {
        self.options != Options::None || self.part != Part::Whole || self.is_atomic
    }

    pub(super) fn is_icmp(&self) -> bool {
        self.kinds().contains(&"icmp")
    }

    /// Where its source and destination address lie in the frame.
    pub(super) fn addresses_at(&self) -> [std::ops::Range<usize>; 2] {
        match self.family {
            Family::V4 => [26..30, 30..34],
            Family::V6 => [22..38, 38..54],
        }
    }

    /// Where its time to live lies in the frame.
    pub(super) fn ttl_at(&self) -> usize {
        match self.family {
            Family::V4 => 22,
            Family::V6 => 21,
        }
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes(array(bytes, at))
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}
