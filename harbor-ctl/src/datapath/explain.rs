//! Asks the packet program itself what it would do: a second load of it, over the same pinned maps,
//! with its dry-run global set, attached nowhere. A dry run changes nothing but `explanation`.

use aya::{
    Ebpf,
    maps::{Array, MapData},
    programs::{TestRun as _, TestRunOptions},
};
use etherparse::PacketBuilder;
use harbor_common::{explain::Explanation, maps::EXPLANATION};

use super::{
    error::{DatapathError, Tried as _},
    interfaces::Interface,
    program::{Load, Options, load_programs, object::PACKET_PROGRAM, pins::Pins, program},
    tables::{open, set},
};
use crate::model::{Protocol, Question, TcpFlag};

/// `struct __sk_buff` of linux/bpf.h: its size, and where the interface stands in it twice.
const SKB_BYTES: usize = 192;
const SKB_INTERFACES: [usize; 2] = [36, 40];
/// A sender that nobody has: locally administered.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const TTL: u8 = 64;

/// The program, loaded for dry runs.
pub(crate) struct Explainer {
    ebpf: Ebpf,
    explanation: Array<MapData, Explanation>,
}

impl Explainer {
    pub(crate) fn load(pins: &Pins, options: &Options) -> Result<Self, DatapathError> {
        let quiet = Options {
            log: log::LevelFilter::Off,
            ..options.clone()
        };
        Ok(Self {
            ebpf: load_programs(pins, &quiet, &[PACKET_PROGRAM], Load::DryRun)?,
            explanation: open(pins, EXPLANATION)?,
        })
    }

    /// What would become of this packet, if it came in by this interface.
    pub(crate) fn ask(
        &mut self,
        question: &Question,
        interface: &Interface,
    ) -> Result<Explanation, DatapathError> {
        let frame = frame(question, interface.hardware).tried(|| "cannot build a packet".into())?;
        let mut context = [0; SKB_BYTES];
        for at in SKB_INTERFACES {
            context[at..at + 4].copy_from_slice(&interface.index.to_ne_bytes());
        }
        // The program adds to what it finds there.
        let blank = Explanation::default();
        set(&mut self.explanation, (EXPLANATION, 0), &blank)?;
        program(&mut self.ebpf, PACKET_PROGRAM)?
            .test_run(TestRunOptions {
                data_in: Some(&frame),
                ctx_in: Some(&context),
                ..TestRunOptions::new()
            })
            .tried(|| "cannot run the program on a packet".into())?;
        self.explanation
            .get(&0, 0)
            .tried(|| format!("cannot read {EXPLANATION}"))
    }
}

/// The packet as it would come in.
fn frame(
    question: &Question,
    destination: [u8; 6],
) -> Result<Vec<u8>, etherparse::err::packet::BuildWriteError> {
    use std::net::SocketAddr::{V4, V6};
    let ethernet = PacketBuilder::ethernet2(SENDER, destination);
    let ip = match (question.source, question.destination) {
        (V4(from), V4(to)) => ethernet.ipv4(from.ip().octets(), to.ip().octets(), TTL),
        (V6(from), V6(to)) => ethernet.ipv6(from.ip().octets(), to.ip().octets(), TTL),
        _ => unreachable!("a question has ends of one family"),
    };
    let ports = (question.source.port(), question.destination.port());
    let mut frame = Vec::new();
    match question.protocol {
        Protocol::Udp => ip.udp(ports.0, ports.1).write(&mut frame, b"explain")?,
        Protocol::Tcp => {
            let has = |flag| question.flags.contains(&flag);
            let mut tcp = ip.tcp(ports.0, ports.1, 1, 65_535);
            if has(TcpFlag::Syn) {
                tcp = tcp.syn();
            }
            if has(TcpFlag::Ack) {
                tcp = tcp.ack(1);
            }
            if has(TcpFlag::Fin) {
                tcp = tcp.fin();
            }
            if has(TcpFlag::Rst) {
                tcp = tcp.rst();
            }
            tcp.write(&mut frame, &[])?;
        }
    }
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    fn question(source: &str, destination: &str, protocol: Protocol) -> Question {
        let flags = match protocol {
            Protocol::Tcp => vec![TcpFlag::Fin, TcpFlag::Ack],
            Protocol::Udp => Vec::new(),
        };
        Question::read(source, destination, protocol, flags).unwrap()
    }

    #[test]
    fn the_packet_is_the_one_that_was_asked_about() {
        let own = [6; 6];
        let asked = question("198.51.100.7:4000", "192.0.2.1:35000", Protocol::Tcp);
        let built = frame(&asked, own).unwrap();
        assert_eq!(built[..6], own);
        let packet = SlicedPacket::from_ethernet(&built).unwrap();
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else {
            panic!("no TCP in {built:02x?}");
        };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (4000, 35000));
        assert!(tcp.fin() && tcp.ack() && !tcp.syn() && !tcp.rst());

        let asked = question("[2001:db8::7]:4000", "[2001:db8::1]:53", Protocol::Udp);
        let built = frame(&asked, own).unwrap();
        let packet = SlicedPacket::from_ethernet(&built).unwrap();
        assert!(matches!(packet.net, Some(NetSlice::Ipv6(_))));
        assert!(matches!(packet.transport, Some(TransportSlice::Udp(_))));
    }
}
