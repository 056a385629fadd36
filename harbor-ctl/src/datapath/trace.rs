//! Reads what the load that traces tells of packets.

use std::{
    net::IpAddr,
    sync::{Arc, Weak},
    time::{SystemTime, UNIX_EPOCH},
};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use etherparse::{LaxNetSlice, LaxSlicedPacket, TcpSlice, TransportSlice};
use harbor_common::{
    explain::Explanation,
    trace::{Trace, Traced},
    verdict::Verdict,
};

use super::{clock, tables::counters::verdict_side};
use crate::model::{TracedHeaders, TracedPacket};

/// Packets as the programs tell of them, until the load that tells is replaced.
pub(crate) struct TraceReader {
    told: Vec<ToldBy>,
    load: Weak<()>,
}

/// What a load tells: there is one for interfaces with an Ethernet header, and one for those without.
pub(crate) struct ToldBy {
    pub(super) ring: RingBuf<MapData>,
    pub(super) processors: PerCpuArray<MapData, Trace>,
}

impl std::fmt::Debug for TraceReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TraceReader({} rings)", self.told.len())
    }
}

/// Held by whoever has loaded the programs that trace.
#[derive(Debug, Default)]
pub(crate) struct TraceLoad(Arc<()>);

impl TraceLoad {
    pub(crate) fn reader(&self, told: Vec<ToldBy>) -> TraceReader {
        TraceReader {
            told,
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
        self.told.iter_mut().find_map(|told| {
            let item = told.ring.next()?;
            read(&item).map(|told| packet(&told))
        })
    }

    /// How many were meant and have not been told, since the load began.
    pub(crate) fn missed(&self) -> u64 {
        let told = self.told.iter();
        let processors = told.filter_map(|told| told.processors.get(&0, 0).ok());
        let missed = processors.map(|all| all.iter().map(|one| one.missed).sum::<u64>());
        missed.sum()
    }
}

/// A packet as it is told.
struct Told<'a> {
    at_ns: u64,
    ifindex: u32,
    leaves_by: u32,
    verdict: u32,
    steps: u32,
    length: u32,
    /// The first octets as it came in, and as it was when the program was done.
    arriving: &'a [u8],
    leaving: &'a [u8],
}

fn read(bytes: &[u8]) -> Option<Told<'_>> {
    let (head, octets) = bytes.split_at_checked(Traced::HEAD)?;
    let (at, words) = head.split_first_chunk()?;
    let (words, []) = words.as_chunks() else {
        return None;
    };
    let words: Vec<_> = words.iter().map(|word| u32::from_ne_bytes(*word)).collect();
    let [ifindex, leaves_by, verdict, steps, length, leaving] = words.try_into().ok()?;
    let (arriving, rest) = octets.split_at_checked(kept(length))?;
    Some(Told {
        at_ns: u64::from_ne_bytes(*at),
        ifindex,
        leaves_by,
        verdict,
        steps,
        length,
        arriving,
        leaving: rest.get(..kept(leaving))?,
    })
}

fn packet(told: &Told<'_>) -> TracedPacket {
    let (name, meaning) = Verdict::describe(told.verdict).unwrap_or(("unknown", ""));
    let names = Explanation::NAMES.iter();
    let names = names.filter(|(step, _)| told.steps & step != 0);
    // What is sent has been translated.
    let last = (told.verdict == 0).then_some("translate");
    let stages = names.map(|(_, name)| *name).chain(last);
    TracedPacket {
        at_us: wall_us(told.at_ns),
        interface: interface(told.ifindex),
        length: told.length,
        verdict: verdict_side(told.verdict).to_owned(),
        name: name.to_owned(),
        meaning: meaning.to_owned(),
        arriving: headers(told.arriving),
        leaving: headers(told.leaving).filter(|_| told.leaving != told.arriving),
        stages: stages.map(str::to_owned).collect(),
        leaves_by: (told.leaves_by != 0).then(|| interface(told.leaves_by)),
        bytes: STANDARD.encode(told.arriving),
    }
}

fn interface(index: u32) -> String {
    let name = nix::net::if_::if_indextoname(index);
    let name = name.map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|_| format!("#{index}"))
}

/// How many octets are kept of a frame of this length.
fn kept(length: u32) -> usize {
    usize::try_from(length).map_or(Traced::OCTETS, |length| length.min(Traced::OCTETS))
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
    use harbor_common::verdict::FIRST_DROP;

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

    /// As the ring has it, when nothing was changed.
    fn told(frame: &[u8]) -> Vec<u8> {
        let length = u32::try_from(frame.len()).unwrap();
        let steps = Explanation::PARSED | Explanation::FRONTEND | Explanation::ADMITTED;
        let words = [1, 0, FIRST_DROP, steps, length, length].map(u32::to_ne_bytes);
        let kept = &frame[..kept(length)];
        let at = clock::monotonic_ns().to_ne_bytes();
        [&at, words.as_flattened(), kept, kept].concat()
    }

    fn packet_of(frame: &[u8]) -> TracedPacket {
        packet(&read(&told(frame)).unwrap())
    }

    #[test]
    fn a_packet_is_read_though_its_end_is_not_kept() {
        for payload in [0, 1_400] {
            let told = packet_of(&frame(payload));
            let headers = told.arriving.unwrap();
            assert_eq!(headers.source, "10.0.0.9:4000");
            assert_eq!(headers.destination, "192.0.2.1:36000");
            assert_eq!((&*headers.protocol, &*headers.flags), ("tcp", "syn"));
            assert_eq!((&*told.verdict, told.leaving), ("drop", None));
            assert_eq!(told.stages, ["parse", "frontend", "admit"]);
            assert_eq!((&*told.interface, told.leaves_by), ("lo", None));
            let kept = STANDARD.decode(told.bytes).unwrap().len();
            assert_eq!(kept, (54 + payload).min(Traced::OCTETS));
        }
        let arp = packet_of(&[0xff; 42]);
        assert_eq!((arp.arriving, arp.length), (None, 42));
        let whole = told(&frame(0));
        assert!(read(&whole[..whole.len() - 1]).is_none(), "cut off");
    }
}
