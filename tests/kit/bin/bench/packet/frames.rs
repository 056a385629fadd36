//! Where the frames come from, and where they end: two small XDP programs.

use std::net::IpAddr;

use anyhow::Result;
use kit::{
    CLIENT_MAC, NODE_MAC,
    frame::{Checksum, Frame, Transport, Udp, ethertype, protocol},
};

use super::{
    assembler::{BYTE, DOUBLE, HALF, Program, WORD},
    kernel::{Counter, FRAME, Loaded},
};

/// The first source port; flows have one each, from here on.
pub(crate) const FIRST_PORT: u16 = 20_000;

/// Verdicts of XDP programs.
const XDP_DROP: i32 = 1;
const XDP_PASS: i32 = 2;
const XDP_TX: i32 = 3;
/// `bpf_get_prandom_u32`
const RANDOM: i32 = 7;

/// Offsets in an untagged frame with a plain IPv4 header.
const KIND: i16 = 12;
const PROTOCOL: i16 = 23;
const HEADER_CHECKSUM: i16 = 24;
/// The lower half of the source address.
const SOURCE_TAIL: i16 = 28;
const SOURCE_PORT: i16 = 34;
const DESTINATION_PORT: i16 = 36;
const CHECKSUM: i16 = 40;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Senders {
    /// One address.
    One,
    /// One of 65,536 at random.
    Many,
}

/// Sends datagrams of 64-octet frames to an endpoint, each from one of so many ports at random.
pub(crate) fn source(
    from: IpAddr,
    to: (IpAddr, u16),
    (flows, senders): (u32, Senders),
) -> Result<Loaded> {
    let from = match (senders, from) {
        (Senders::Many, IpAddr::V4(from)) => {
            let [a, b, ..] = from.octets();
            IpAddr::from([a, b, 0, 0])
        }
        _ => from,
    };
    let transport = Transport::Udp(Udp {
        source: 0,
        destination: to.1,
        checksum: Checksum::Full,
        payload: vec![0; FRAME - 42],
    });
    let template = Frame::ip(NODE_MAC, CLIENT_MAC, (from, to.0), transport).bytes();
    let sum = !u16::from_ne_bytes([template[40], template[41]]);
    let header_sum = !u16::from_ne_bytes([template[24], template[25]]);
    let mut program = Program::default();
    let (context, data, end, next) = (6, 7, 8, 9);
    program
        .copy(context, 1)
        .load(WORD, data, context, 0)
        .load(WORD, end, context, 4)
        .copy(next, data)
        .add(next, FRAME as i32)
        .leave_unless_within(next, end, XDP_DROP);
    for (at, octets) in (0..).step_by(8).zip(template.chunks(8)) {
        let mut word = [0; 8];
        word.copy_from_slice(octets);
        program
            .wide(1, u64::from_ne_bytes(word))
            .store(DOUBLE, data, at, 1);
    }
    program.call(RANDOM).copy(3, 0).shift_right(0, 16);
    match senders {
        Senders::One => program.set(3, 0),
        Senders::Many => program
            .and(3, 0xffff)
            .store(HALF, data, SOURCE_TAIL, 3)
            .set(1, header_sum.into())
            .plus(1, 3)
            .fold(1, 2)
            .xor(1, 0xffff)
            .store(HALF, data, HEADER_CHECKSUM, 1),
    };
    program
        .and(0, flows as i32 - 1)
        .add(0, FIRST_PORT.into())
        .network_order(0)
        .store(HALF, data, SOURCE_PORT, 0)
        // The template's checksum is that of port 0; sums do not depend on the order of octets.
        .set(1, sum.into())
        .plus(1, 0)
        .plus(1, 3)
        .fold(1, 2)
        .fold(1, 2)
        .xor(1, 0xffff)
        .store(HALF, data, CHECKSUM, 1)
        .leave(XDP_TX);
    Loaded::new(&program)
}

/// Counts and drops the datagrams for a port, and passes everything else.
pub(crate) fn sink(port: u16, counter: &Counter) -> Result<Loaded> {
    let mut program = Program::default();
    let (data, end, next) = (7, 8, 9);
    let in_memory = |word: u16| i32::from(u16::from_ne_bytes(word.to_be_bytes()));
    program
        .load(WORD, data, 1, 0)
        .load(WORD, end, 1, 4)
        .copy(next, data)
        .add(next, 42)
        .leave_unless_within(next, end, XDP_PASS)
        .load(HALF, 1, data, KIND)
        .leave_unless(1, in_memory(ethertype::IPV4), XDP_PASS)
        .load(BYTE, 1, data, PROTOCOL)
        .leave_unless(1, protocol::UDP.into(), XDP_PASS)
        .load(HALF, 1, data, DESTINATION_PORT)
        .leave_unless(1, in_memory(port), XDP_PASS)
        .map_value(1, counter.id())
        .set(2, 1)
        .count(1, 2)
        .leave(XDP_DROP);
    Loaded::new(&program)
}
