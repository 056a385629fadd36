//! From bytes to fields, with every length and checksum verified.

use std::net::Ipv4Addr;

use super::{ethertype, pseudo, sum};

/// A frame as it was seen: an untagged IPv4 packet without contradictions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Destination MAC.
    pub to: [u8; 6],
    /// Source MAC.
    pub from: [u8; 6],
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// Differentiated services and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// IP options.
    pub options: Vec<u8>,
    /// What it carries.
    pub transport: SeenTransport,
}

/// A transport header as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenTransport {
    /// IP protocol number.
    pub protocol: u8,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// All after the ports, but for the checksum, which is set to zero.
    pub rest: Vec<u8>,
    /// A UDP datagram without a checksum.
    pub is_unprotected: bool,
}

/// Reads a frame; says what is wrong with it, if anything is.
pub fn parse(frame: &[u8]) -> Result<Seen, String> {
    if frame.len() < 34 {
        return Err(format!(
            "{} bytes are no frame with an IPv4 header",
            frame.len()
        ));
    }
    let kind = word(frame, 12);
    if kind != ethertype::IPV4 {
        return Err(format!("EtherType {kind:#06x}"));
    }
    let (to, from) = (array(frame, 0), array(frame, 6));
    let packet = &frame[14..];
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
    let (source, destination) = (array(head, 12), array(head, 16));
    Ok(Seen {
        to,
        from,
        source: Ipv4Addr::from(source),
        destination: Ipv4Addr::from(destination),
        ttl: head[8],
        tos: head[1],
        id: word(head, 4),
        fragment: word(head, 6),
        options: head[20..].to_vec(),
        transport: transport(head[9], body, source, destination)?,
    })
}

fn transport(
    protocol: u8,
    body: &[u8],
    source: [u8; 4],
    destination: [u8; 4],
) -> Result<SeenTransport, String> {
    let (shortest, at) = match protocol {
        6 => (20, 16),
        17 => (8, 6),
        other => return Err(format!("protocol {other}")),
    };
    if body.len() < shortest {
        return Err(format!("{} bytes of protocol {protocol}", body.len()));
    }
    if protocol == 17 && usize::from(word(body, 4)) != body.len() {
        return Err(format!(
            "a datagram of {} bytes says {}",
            body.len(),
            word(body, 4)
        ));
    }
    let is_unprotected = protocol == 17 && word(body, at) == 0;
    if !is_unprotected && sum(&[&pseudo(source, destination, protocol, body.len()), body]) != 0 {
        return Err(format!("the checksum of protocol {protocol} is wrong"));
    }
    let mut rest = body[4..].to_vec();
    rest[at - 4..at - 2].fill(0);
    Ok(SeenTransport {
        protocol,
        source: word(body, 0),
        destination: word(body, 2),
        rest,
        is_unprotected,
    })
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().unwrap()
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};

    use super::*;
    use crate::frame::{Checksum, Frame, Tcp, Transport, Udp, flag};

    const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    const NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);

    fn tcp() -> Frame {
        let tcp = Tcp {
            source: 40000,
            destination: 35000,
            sequence: 1,
            acknowledgement: 2,
            flags: flag::SYN,
            options: vec![2, 4, 5, 0xb4],
            payload: b"odd".to_vec(),
        };
        Frame::ipv4(
            [2, 0, 0, 0, 0, 1],
            [2, 0, 0, 0, 0, 2],
            (CLIENT, NODE),
            Transport::Tcp(tcp),
        )
    }

    #[test]
    fn another_library_finds_our_checksums_right() {
        let bytes = tcp().bytes();
        let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(TransportSlice::Tcp(slice)) = sliced.transport else {
            panic!("no TCP")
        };
        let net = sliced.net.unwrap();
        let header = net.ipv4_ref().unwrap().header().to_header();
        assert_eq!(header.calc_header_checksum(), header.header_checksum);
        let found = slice
            .calc_checksum_ipv4(CLIENT.octets(), NODE.octets())
            .unwrap();
        assert_eq!(found, slice.checksum());
        assert!(parse(&bytes).is_ok());
    }

    #[test]
    fn we_read_what_another_library_writes() {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4(CLIENT.octets(), NODE.octets(), 20)
            .udp(40000, 35000);
        let mut bytes = Vec::new();
        builder.write(&mut bytes, b"payload").unwrap();
        let seen = parse(&bytes).unwrap();
        assert_eq!(
            (seen.source, seen.destination, seen.ttl),
            (CLIENT, NODE, 20)
        );
        assert_eq!(
            (seen.transport.source, seen.transport.destination),
            (40000, 35000)
        );
    }

    #[test]
    fn one_changed_bit_anywhere_after_the_macs_is_noticed() {
        let good = tcp().bytes();
        for bit in 12 * 8..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_is_read_as_one() {
        let udp = Udp {
            source: 1,
            destination: 2,
            checksum: Checksum::None,
            payload: b"x".to_vec(),
        };
        let bytes = Frame::ipv4([0; 6], [0; 6], (CLIENT, NODE), Transport::Udp(udp)).bytes();
        assert!(parse(&bytes).unwrap().transport.is_unprotected);
    }
}
