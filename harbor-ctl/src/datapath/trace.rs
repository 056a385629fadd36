//! Reads what the load that traces tells of packets.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use aya::maps::{MapData, RingBuf};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use harbor_common::{
    trace::Traced,
    verdict::{FIRST_DROP, Verdict},
};

use super::clock;
use crate::model::{TracedHeaders, TracedPacket};

/// Packets as the programs tell of them, until the load that tells is replaced.
pub(crate) struct TraceReader {
    /// One for interfaces with an Ethernet header, and one for those without.
    pub(super) rings: Vec<RingBuf<MapData>>,
    pub(super) load: Weak<()>,
}

impl std::fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TraceReader({} rings)", self.rings.len())
    }
}

/// Held by whoever has loaded the programs that trace.
#[derive(Debug, Default)]
pub(crate) struct TraceLoad(Arc<()>);

impl TraceLoad {
    pub(crate) fn reader(&self, rings: Vec<RingBuf<MapData>>) -> TraceReader {
        TraceReader {
            rings,
            load: Arc::downgrade(&self.0),
        }
    }

    pub(crate) fn is_read(&self) -> bool {
        Arc::weak_count(&self.0) > 0
    }
}

impl TraceReader {
    /// Whether more can come.
    pub(crate) fn goes_on(&self) -> bool {
        self.load.strong_count() > 0
    }

    /// The next packet that was told.
    pub(crate) fn next(&mut self) -> Option<TracedPacket> {
        self.rings.iter_mut().find_map(|ring| {
            let item = ring.next()?;
            read(&item).map(|traced| packet(&traced))
        })
    }
}

fn read(bytes: &[u8]) -> Option<Traced> {
    let (head, rest) = bytes.split_at_checked(24)?;
    let (arriving, rest) = rest.split_first_chunk()?;
    let leaving = rest.first_chunk()?;
    let word = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
    Some(Traced {
        at_ns: u64::from_ne_bytes(head.get(..8)?.try_into().ok()?),
        ifindex: word(8)?,
        verdict: word(12)?,
        length: word(16)?,
        leaving_length: word(20)?,
        arriving: *arriving,
        leaving: *leaving,
    })
}

fn packet(traced: &Traced) -> TracedPacket {
    let (name, meaning) = Verdict::describe(traced.verdict).unwrap_or(("unknown", ""));
    let verdict = match traced.verdict {
        0 => "forward",
        number if number < FIRST_DROP => "pass",
        _ => "drop",
    };
    let arriving = kept(&traced.arriving, traced.length);
    let leaving = kept(&traced.leaving, traced.leaving_length);
    let interface = nix::net::if_::if_indextoname(traced.ifindex);
    let interface = interface.map(|name| name.to_string_lossy().into_owned());
    TracedPacket {
        at_us: wall_us(traced.at_ns),
        interface: interface.unwrap_or_else(|_| format!("#{}", traced.ifindex)),
        length: traced.length,
        verdict: verdict.to_owned(),
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        arriving: headers(arriving),
        leaving: headers(leaving).filter(|_| leaving != arriving),
        bytes: STANDARD.encode(arriving),
    }
}

fn kept(octets: &[u8; Traced::OCTETS], length: u32) -> &[u8] {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    octets.get(..length).unwrap_or(octets)
}

/// A moment of the monotonic clock, in microseconds since 1970.
fn wall_us(at_ns: u64) -> u64 {
    let ago = clock::monotonic_ns().saturating_sub(at_ns);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    u64::try_from(now)
        .unwrap_or(u64::MAX)
        .saturating_sub(ago / 1_000)
}

/// What can be read of a frame's beginning.
fn headers(octets: &[u8]) -> Option<TracedHeaders> {
    let packet = LaxSlicedPacket::from_ethernet(octets).ok()?;
    let (source, destination, number): (IpAddr, IpAddr, u8) = match &packet.net {
        Some(LaxNetSlice::Ipv4(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
            ip.payload().ip_number.0,
        ),
        Some(LaxNetSlice::Ipv6(ip)) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
            ip.payload().ip_number.0,
        ),
        _ => return None,
    };
    let with = |ip: IpAddr, port: u16| std::net::SocketAddr::from((ip, port)).to_string();
    let (ports, flags) = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => (
            Some((tcp.source_port(), tcp.destination_port())),
            flags(tcp),
        ),
        Some(TransportSlice::Udp(udp)) => (
            Some((udp.source_port(), udp.destination_port())),
            String::new(),
        ),
        _ => (None, String::new()),
    };
    let (source, destination) = match ports {
        Some((from, to)) => (with(source, from), with(destination, to)),
        None => (source.to_string(), destination.to_string()),
    };
    let protocol = match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    };
    Some(TracedHeaders {
        protocol,
        source,
        destination,
        flags,
    })
}

fn flags(tcp: &TcpSlice<'_>) -> String {
    let flags = [
        ("syn", tcp.syn()),
        ("ack", tcp.ack()),
        ("fin", tcp.fin()),
        ("rst", tcp.rst()),
        ("psh", tcp.psh()),
    ];
    let set = flags.iter().filter(|(_, is_set)| *is_set);
    set.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    fn frame(payload: usize) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([10, 0, 0, 9], [192, 0, 2, 1], 64)
            .tcp(4_000, 36_000, 1, 512)
            .syn();
        let mut frame = Vec::new();
        builder.write(&mut frame, &vec![7; payload]).unwrap();
        frame
    }

    fn traced(frame: &[u8]) -> Traced {
        let mut kept = [0; Traced::OCTETS];
        let length = frame.len().min(Traced::OCTETS);
        kept[..length].copy_from_slice(&frame[..length]);
        Traced {
            at_ns: clock::monotonic_ns(),
            ifindex: 1,
            verdict: FIRST_DROP,
            length: u32::try_from(frame.len()).unwrap(),
            leaving_length: u32::try_from(frame.len()).unwrap(),
            arriving: kept,
            leaving: kept,
        }
    }

    #[test]
    fn a_packet_is_read_though_its_end_is_not_kept() {
        for payload in [0, 1_400] {
            let told = packet(&traced(&frame(payload)));
            let headers = told.arriving.unwrap();
            assert_eq!(headers.source, "10.0.0.9:4000");
            assert_eq!(headers.destination, "192.0.2.1:36000");
            assert_eq!((&*headers.protocol, &*headers.flags), ("tcp", "syn"));
            assert_eq!((&*told.verdict, told.leaving), ("drop", None));
            let kept = STANDARD.decode(told.bytes).unwrap().len();
            assert_eq!(kept, (54 + payload).min(Traced::OCTETS));
        }
        let arp = packet(&traced(&[0xff; 42]));
        assert_eq!((arp.arriving, arp.length), (None, 42));
    }
}
