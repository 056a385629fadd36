//! Every frame kind, cut at every length and changed in every bit: what is not Harbor's leaves as it
//! came, what is forwarded is right, and every frame has exactly one verdict.

use kit::{
    NODE_BACKEND_MAC, NODE_MAC,
    frame::{Frame, Packet, Tcp, Transport, ethertype, flag, parse},
    verdict::{Action, Outcome, is_drop, is_runnable},
};

use super::{
    bench::{APP_PORT, Bench, RANGE_PORT, Side, TCP_PORT, UDP_PORT, datagram, segment, syn},
    forwarded::is_translation,
};

/// Bits are changed up to here: all headers, options included, and some data.
const HEADERS: usize = 80;

/// One frame of every kind that the node may meet, and where it comes from.
fn kinds(bench: &Bench) -> Vec<(Side, Vec<u8>)> {
    let talk = bench.established();
    let data = Tcp {
        payload: b"some data".to_vec(),
        flags: flag::ACK | flag::PSH,
        ..talk.request()
    };
    let options = |ip: &mut kit::frame::Ip| ip.options = vec![7, 7, 4, 0, 0, 0, 0, 0];
    let client = [
        bench.to_node(syn(bench.client_port(), TCP_PORT)),
        bench.to_node(Transport::Tcp(data.clone())),
        bench.to_node(Transport::Tcp(Tcp {
            flags: flag::ACK | flag::FIN,
            ..talk.request()
        })),
        bench.to_node(Transport::Tcp(Tcp {
            flags: flag::RST,
            ..talk.request()
        })),
        bench.to_node(datagram(bench.client_port(), UDP_PORT, b"a question")),
        bench.to_node(Transport::Tcp(data)).with(options),
    ];
    let reply = Tcp {
        payload: b"an answer".to_vec(),
        ..talk.reply()
    };
    let question = bench
        .to_node(datagram(bench.client_port(), UDP_PORT, b"?"))
        .bytes();
    let asked = bench.forward(Side::Client, &question).transport.source;
    let backend = [
        bench.reply(&talk, Transport::Tcp(reply)),
        bench.app_frame(datagram(APP_PORT, asked, b"!")),
        bench.app_frame(segment(APP_PORT, RANGE_PORT, flag::SYN)),
        bench.app_frame(segment(22, RANGE_PORT, flag::ACK)),
    ];
    let strangers = strangers(bench);
    let client = client
        .iter()
        .chain(&strangers)
        .map(|frame| (Side::Client, frame.bytes()));
    client
        .chain(backend.iter().map(|frame| (Side::Backend, frame.bytes())))
        .collect()
}

/// Frames that are none of Harbor's business.
fn strangers(bench: &Bench) -> Vec<Frame> {
    let other = |kind, bytes: &[u8]| Frame {
        packet: Packet::Raw(kind, bytes.to_vec()),
        ..bench.to_node(syn(1, 1))
    };
    vec![
        bench.to_node(syn(bench.client_port(), 22)),
        bench.to_node(datagram(bench.client_port(), 53, b"not for a port")),
        bench.to_node(Transport::Raw(1, vec![8, 0, 0, 0, 0, 1, 0, 1, 9, 9])),
        bench.to_node(Transport::Raw(47, vec![0; 20])),
        Frame {
            tags: vec![5],
            ..bench.to_node(syn(1, TCP_PORT))
        },
        other(ethertype::ARP, &[0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 1, 2]),
        other(ethertype::IPV6, &[0x60; 64]),
    ]
}

/// An independent answer to "may Harbor touch this frame at all?", generous where it is hard to say.
fn may_be_ours(bench: &Bench, frame: &[u8]) -> bool {
    let own = [bench.public(), bench.translation()];
    let is_ours = |header: &[u8]| {
        let start = 14 + usize::from(header[0] & 15) * 4;
        let Some(ports) = frame.get(start..start + 4) else {
            return false;
        };
        let port = u16::from_be_bytes([ports[2], ports[3]]);
        // A later fragment has no ports, and goes where the first one with its number went.
        let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        let address: [u8; 4] = header[16..20].try_into().unwrap();
        header[0] >> 4 == 4
            && matches!(header[9], 6 | 17)
            && own.contains(&address.into())
            && (is_later
                || [TCP_PORT, UDP_PORT].contains(&port)
                || (10_240..=32_767).contains(&port))
    };
    // The group bit makes a frame everybody's.
    let is_for_us = frame[0] & 1 == 1
        || [NODE_MAC, NODE_BACKEND_MAC]
            .iter()
            .any(|m| frame.starts_with(m));
    let is_ipv4 = frame[12..14] == ethertype::IPV4.to_be_bytes();
    is_for_us && is_ipv4 && frame.get(14..34).is_some_and(is_ours)
}

#[track_caller]
fn check(bench: &Bench, frame: &[u8], outcome: &Outcome) {
    let shown = || format!("{outcome:?}\nfrom {frame:02x?}");
    match outcome.action {
        Action::Pass => assert!(!is_drop(&outcome.verdict), "{}", shown()),
        Action::Drop => assert!(is_drop(&outcome.verdict), "{}", shown()),
        Action::Redirect => assert_eq!(outcome.verdict, "forward", "{}", shown()),
        Action::Answer => assert!(parse(&outcome.frame).is_ok(), "{}", shown()),
        Action::Other(_) => panic!("{}", shown()),
    }
    if !matches!(outcome.action, Action::Redirect | Action::Answer) {
        assert_eq!(
            outcome.frame,
            frame,
            "changed, and not forwarded: {}",
            shown()
        );
    }
    if outcome.action != Action::Pass {
        assert!(
            may_be_ours(bench, frame),
            "not ours, and not passed: {}",
            shown()
        );
    }
    if let (Action::Redirect, Ok(before)) = (outcome.action, parse(frame)) {
        let after = parse(&outcome.frame).unwrap_or_else(|wrong| panic!("{wrong}: {}", shown()));
        is_translation(&before, &after);
    }
    if outcome.action == Action::Redirect && parse(frame).is_err() {
        assert!(
            parse(&outcome.frame).is_err(),
            "a bad checksum was made good: {}",
            shown()
        );
    }
}

#[test]
fn frames_cut_at_any_length_are_passed_whole_or_forwarded_right() {
    let bench = Bench::new();
    for (side, frame) in kinds(&bench) {
        let cuts: Vec<Vec<u8>> = (0..=frame.len())
            .map(|length| frame[..length].to_vec())
            .filter(|cut| is_runnable(cut))
            .collect();
        for (cut, outcome) in cuts.iter().zip(bench.run_all(side, &cuts)) {
            check(&bench, cut, &outcome);
        }
    }
}

#[test]
fn frames_with_any_bit_changed_are_passed_whole_or_forwarded_right() {
    let bench = Bench::new();
    for (side, frame) in kinds(&bench) {
        let bits = 8 * frame.len().min(HEADERS);
        let change = |bit: usize| {
            let mut changed = frame.clone();
            changed[bit / 8] ^= 0x80 >> (bit % 8);
            changed
        };
        let changed: Vec<Vec<u8>> = (0..bits)
            .map(change)
            .filter(|frame| is_runnable(frame))
            .collect();
        for (frame, outcome) in changed.iter().zip(bench.run_all(side, &changed)) {
            check(&bench, frame, &outcome);
        }
    }
}

#[test]
fn frames_with_any_header_byte_at_its_extremes_are_passed_whole_or_forwarded_right() {
    let bench = Bench::new();
    for (side, frame) in kinds(&bench) {
        let mut changed = Vec::new();
        for at in 0..frame.len().min(HEADERS) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = frame.clone();
                bytes[at] = value;
                changed.extend(is_runnable(&bytes).then_some(bytes));
            }
        }
        for (frame, outcome) in changed.iter().zip(bench.run_all(side, &changed)) {
            check(&bench, frame, &outcome);
        }
    }
}
