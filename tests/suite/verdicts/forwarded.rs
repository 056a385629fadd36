//! Frames that are forwarded: what changes, what must not, and that every checksum is right.

use kit::frame::{Checksum, Frame, Seen, Tcp, Transport, Udp, flag, parse};

use super::bench::{APP_PORT, Bench, Side, TCP_PORT, UDP_PORT, datagram, syn};

/// All but addresses, ports and checksums is as it was, and the time to live is one less.
#[track_caller]
pub(super) fn is_translation(before: &Seen, after: &Seen) {
    let expected = Seen {
        to: after.to,
        from: after.from,
        source: after.source,
        destination: after.destination,
        ttl: before.ttl - 1,
        transport: kit::frame::SeenTransport {
            source: after.transport.source,
            destination: after.transport.destination,
            ..before.transport.clone()
        },
        ..before.clone()
    };
    assert_eq!(*after, expected);
}

#[track_caller]
fn forward(bench: &Bench, side: Side, frame: &Frame) -> Seen {
    let bytes = frame.bytes();
    let after = bench.forward(side, &bytes);
    is_translation(&parse(&bytes).unwrap(), &after);
    after
}

#[test]
fn a_handshake_and_its_end_are_translated_both_ways() {
    let bench = Bench::new();
    let port = bench.client_port();
    let opened = forward(&bench, Side::Client, &bench.to_node(syn(port, TCP_PORT)));
    assert_eq!(opened.source, bench.translation());
    assert!(
        (10_240..=32_767).contains(&opened.transport.source),
        "{opened:?}"
    );
    assert_eq!(opened.transport.destination, APP_PORT);
    let talk = bench.established();
    for flags in [flag::ACK, flag::ACK | flag::PSH, flag::ACK | flag::FIN] {
        for payload in [&b""[..], b"odd", b"even", &[0xff; 1400]] {
            let payload = payload.to_vec();
            let request = Tcp {
                flags,
                payload: payload.clone(),
                ..talk.request()
            };
            let after = forward(
                &bench,
                Side::Client,
                &bench.to_node(Transport::Tcp(request)),
            );
            assert_eq!(
                (after.destination, after.transport.source),
                (talk.backend, talk.source_port)
            );
            let reply = Tcp {
                flags,
                payload,
                ..talk.reply()
            };
            let after = forward(
                &bench,
                Side::Backend,
                &bench.reply(&talk, Transport::Tcp(reply)),
            );
            assert_eq!(
                (after.source, after.destination),
                (bench.public(), bench.client())
            );
            let ports = (after.transport.source, after.transport.destination);
            assert_eq!(ports, (TCP_PORT, talk.client_port));
        }
    }
}

#[test]
fn new_connections_alternate_between_the_backends() {
    let bench = Bench::new();
    let next = || {
        bench.forward(
            Side::Client,
            &bench.to_node(syn(bench.client_port(), TCP_PORT)).bytes(),
        )
    };
    let chosen: Vec<_> = (0..100).map(|_| next().destination).collect();
    assert!(
        chosen.windows(2).all(|pair| pair[0] != pair[1]),
        "{chosen:?}"
    );
}

#[test]
fn a_repeated_syn_stays_on_its_flow() {
    let bench = Bench::new();
    let frame = bench.to_node(syn(bench.client_port(), TCP_PORT));
    let first = forward(&bench, Side::Client, &frame);
    for _ in 0..5 {
        assert_eq!(forward(&bench, Side::Client, &frame), first);
    }
}

#[test]
fn a_syn_on_a_closed_flow_is_a_new_connection_and_on_a_live_one_a_repetition() {
    let bench = Bench::new();
    let talk = bench.established();
    let again = bench.to_node(syn(talk.client_port, TCP_PORT));
    let repeated = forward(&bench, Side::Client, &again);
    assert_eq!(
        (repeated.destination, repeated.transport.source),
        (talk.backend, talk.source_port)
    );
    let flags = flag::ACK | flag::FIN;
    let request = Transport::Tcp(Tcp {
        flags,
        ..talk.request()
    });
    let reply = Transport::Tcp(Tcp {
        flags,
        ..talk.reply()
    });
    forward(&bench, Side::Client, &bench.to_node(request));
    forward(&bench, Side::Backend, &bench.reply(&talk, reply));
    let anew = forward(&bench, Side::Client, &again);
    assert_ne!(anew.destination, talk.backend, "it has a turn of its own");
    bench.complete(
        &again.bytes(),
        &bench.run(Side::Client, &again.bytes()).frame,
    );
}

#[test]
fn a_client_port_in_the_translation_range_is_kept() {
    let bench = Bench::new();
    let after = forward(&bench, Side::Client, &bench.to_node(syn(20_123, TCP_PORT)));
    assert_eq!(after.transport.source, 20_123);
}

#[test]
fn a_question_and_its_answer_are_translated() {
    let bench = Bench::new();
    for size in [0, 1, 2, 63, 1400] {
        let port = bench.client_port();
        let question = bench.to_node(datagram(port, UDP_PORT, &vec![0xa5; size]));
        let asked = forward(&bench, Side::Client, &question);
        assert_eq!(asked.destination, bench.app(0), "the first backend");
        let answer = datagram(APP_PORT, asked.transport.source, &vec![0x5a; size]);
        let answered = forward(&bench, Side::Backend, &bench.app_frame(answer));
        assert_eq!(
            (answered.source, answered.transport.source),
            (bench.public(), UDP_PORT)
        );
        assert_eq!(answered.transport.destination, port);
    }
}

#[test]
fn a_datagram_without_a_checksum_gets_none() {
    let bench = Bench::new();
    let udp = |source, destination| {
        let payload = b"unprotected".to_vec();
        Transport::Udp(Udp {
            source,
            destination,
            checksum: Checksum::None,
            payload,
        })
    };
    let asked = forward(
        &bench,
        Side::Client,
        &bench.to_node(udp(bench.client_port(), UDP_PORT)),
    );
    assert!(asked.transport.is_unprotected);
    let answer = bench.app_frame(udp(APP_PORT, asked.transport.source));
    assert!(
        forward(&bench, Side::Backend, &answer)
            .transport
            .is_unprotected
    );
}

#[test]
fn a_checksum_that_becomes_zero_is_sent_as_all_ones() {
    let bench = Bench::new();
    let port = bench.client_port();
    let asked = forward(
        &bench,
        Side::Client,
        &bench.to_node(datagram(port, UDP_PORT, &[0, 0])),
    );
    // What the translated datagram's checksum is with a payload of zero is the payload that makes
    // the sum all ones, and so its complement zero.
    let translated = Frame::ip(
        [0; 6],
        [0; 6],
        (asked.source, asked.destination),
        datagram(asked.transport.source, APP_PORT, &[0, 0]),
    );
    let checksum = &translated.bytes()[40..42];
    let question = bench.to_node(datagram(port, UDP_PORT, checksum)).bytes();
    let outcome = bench.run(Side::Client, &question);
    assert_eq!(&outcome.frame[40..42], [0xff, 0xff]);
    assert!(parse(&outcome.frame).is_ok());
}

#[test]
fn padding_behind_a_short_packet_is_kept() {
    let bench = Bench::new();
    let mut frame = bench
        .to_node(datagram(bench.client_port(), UDP_PORT, b"x"))
        .bytes();
    frame.resize(60, 0);
    let outcome = bench.run(Side::Client, &frame);
    assert_eq!(
        (outcome.verdict.as_str(), outcome.frame.len()),
        ("forward", 60)
    );
    is_translation(&parse(&frame).unwrap(), &parse(&outcome.frame).unwrap());
}

#[test]
fn every_service_class_and_every_time_to_live_is_translated() {
    let bench = Bench::new();
    let talk = bench.established();
    for ttl in 2..=255 {
        let request = bench.to_node(Transport::Tcp(talk.request()));
        let marked = request.with(|ip| (ip.ttl, ip.tos, ip.id) = (ttl, ttl, u16::from(ttl) << 8));
        forward(&bench, Side::Client, &marked);
    }
}
