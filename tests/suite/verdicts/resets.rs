//! Resets: a wrong one changes nothing, a right one shortens the flow's life.

use std::{net::SocketAddr, time::Duration};

use kit::{
    Config, eventually,
    frame::{Tcp, Transport, flag},
};

use super::bench::{Bench, Conversation, Side};
use crate::scene::FAMILIES;

const SHORT: &str = "[timeouts]\ntcp_reset = \"4s\"\n";
const WRONG: usize = 1_000;
/// A reset may lie this far beyond what the other side has acknowledged.
const WINDOW: u32 = 65_535;

/// A reset from one side with a sequence number so far from what the other side expects.
fn reset(bench: &Bench, talk: &Conversation, side: Side, distance: u32) -> Vec<u8> {
    let next = match side {
        Side::Client => talk.request(),
        Side::Backend => talk.reply(),
    };
    let segment = Transport::Tcp(Tcp {
        flags: flag::RST,
        sequence: next.sequence.wrapping_add(distance),
        acknowledgement: 0,
        ..next
    });
    match side {
        Side::Client => bench.to_node(segment).bytes(),
        Side::Backend => bench.reply(talk, segment).bytes(),
    }
}

/// The state of a conversation's flow; `None` = there is none.
fn state(bench: &Bench, talk: &Conversation) -> Option<String> {
    let client = SocketAddr::new(bench.client(), talk.client_port).to_string();
    let flows = bench.agent.items(&["flows", "list"]);
    let found = flows.iter().find(|flow| flow["client"] == client)?;
    Some(found["state"].as_str().unwrap().into())
}

/// Whether data goes both ways on the flow as it did.
fn talks(bench: &Bench, talk: &Conversation) {
    let sent = bench.forward(
        Side::Client,
        &bench.to_node(Transport::Tcp(talk.request())).bytes(),
    );
    assert_eq!(
        (sent.destination, sent.transport.source),
        (talk.backend, talk.source_port)
    );
    let replied = bench.reply(talk, Transport::Tcp(talk.reply())).bytes();
    let replied = bench.forward(Side::Backend, &replied);
    assert_eq!(
        (replied.destination, replied.transport.destination),
        (bench.client(), talk.client_port)
    );
}

#[test]
fn a_thousand_wrong_resets_from_either_side_change_nothing() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with(SHORT));
        for side in [Side::Client, Side::Backend] {
            let talk = bench.established();
            talks(&bench, &talk);
            let mut random: u64 = 0x2545_f491_4f6c_dd1d;
            let outside = std::iter::repeat_with(|| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 32) as u32
            });
            let outside = outside.filter(|distance| *distance > WINDOW);
            let edges = [WINDOW + 1, u32::MAX, 1 << 31];
            let frames: Vec<Vec<u8>> = (edges.into_iter().chain(outside).take(WRONG))
                .map(|distance| reset(&bench, &talk, side, distance))
                .collect();
            for outcome in bench.run_all(side, &frames) {
                assert_eq!(outcome.verdict, "forward", "the far end judges, too");
            }
            assert_eq!(state(&bench, &talk).as_deref(), Some("live"), "{side:?}");
            talks(&bench, &talk);
        }
    }
}

#[test]
fn a_right_reset_from_either_side_ends_the_flow_soon() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with(SHORT));
        let talks: Vec<Conversation> = [Side::Client, Side::Backend]
            .map(|side| {
                let talk = bench.established();
                talks(&bench, &talk);
                bench.forward(side, &reset(&bench, &talk, side, 0));
                // Where a look takes long, it is gone by then.
                let ended = state(&bench, &talk);
                assert!(ended.is_none_or(|state| state == "closed"), "{side:?}");
                talk
            })
            .into();
        eventually(Duration::from_secs(12), || {
            talks.iter().all(|talk| state(&bench, talk).is_none())
        });
    }
}

#[test]
fn a_reset_that_the_other_side_contradicts_is_forgotten() {
    for family in FAMILIES {
        let bench = Bench::of(family, &Config::with(SHORT));
        for side in [Side::Client, Side::Backend] {
            let talk = bench.established();
            talks(&bench, &talk);
            // In the window, but not what the other side expects: a challenge answers it.
            bench.forward(side, &reset(&bench, &talk, side, 4_000));
            talks(&bench, &talk);
            assert_eq!(state(&bench, &talk).as_deref(), Some("live"), "{side:?}");
        }
    }
}
