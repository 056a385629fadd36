//! Frames against the model, one after the other, in one world that lives on.

use std::{collections::VecDeque, env, fmt::Write as _, time::Instant};

use kit::{
    frame::{parse, protocol},
    verdict::{Action, Outcome, is_drop, is_runnable},
};

use super::{
    Ground, Hooks, Side,
    check::{Chosen, header_residue, holds},
    flow::{Key, Way},
    generate::Generator,
    judge::{Case, Out, Step},
    reading::{Packet, Part, Reading, read, word},
    world::{Policy, World},
};
use crate::scene::FAMILIES;

/// Frames in CI; `HARBOR_FUZZ_PACKETS` says how many otherwise.
const FRAMES: u64 = 200_000;
/// After so many frames the model forgets what must have fallen silent long ago.
const ROUND: u64 = 100_000;
/// How many frames are kept to be shown beside one that fails.
const HISTORY: usize = 3_000_000;

/// A frame and what became of it.
struct Entry {
    side: Side,
    frame: Vec<u8>,
    verdict: String,
    key: Option<Key>,
    /// What an answer to the frame that left would stand under.
    answer: Option<Key>,
    at: Instant,
}

#[test]
fn every_frame_becomes_what_the_contract_says() {
    run(Hooks::Tc, FRAMES);
}

#[test]
fn every_frame_becomes_what_the_contract_says_through_xdp_and_tc_in_tandem() {
    run(Hooks::Tandem, FRAMES);
}

/// Runs so many frames, unless `HARBOR_FUZZ_PACKETS` says otherwise.
pub(crate) fn run(hooks: Hooks, frames: u64) {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let frames = number("HARBOR_FUZZ_PACKETS").unwrap_or(frames);
    let seed = number("HARBOR_FUZZ_SEED").unwrap_or_else(fresh);
    let ground = Ground::new(hooks);
    let mut world = ground.world();
    let mut generator = Generator::new(seed, &ground.lab, &FAMILIES);
    let mut history = VecDeque::new();
    ground.lab.node.enter(|| {
        for count in 0..frames {
            if count % ROUND == ROUND - 1 {
                world.forget();
            }
            let (side, frame) = generator.next(&world);
            if !is_runnable(&frame) || frame.len() > 4_000 {
                continue;
            }
            if world.is_vague(&frame, side.hardware()) {
                continue;
            }
            let outcome = ground.prober(side).run_here(&frame);
            let reading = step(&mut world, side, &frame, &outcome).unwrap_or_else(|wrong| {
                println!("{}", ground.condition());
                fail((seed, count), &wrong, (side, &frame), (&world, &history))
            });
            follow(&mut generator, side, &outcome);
            history.push_back(Entry {
                side,
                frame,
                key: reading.packet.and_then(|packet| packet.key()),
                answer: (outcome.action == Action::Redirect)
                    .then(|| answer(&outcome.frame))
                    .flatten(),
                verdict: outcome.verdict,
                at: Instant::now(),
            });
            if history.len() > HISTORY {
                history.pop_front();
            }
        }
    });
    assert!(world.begun > frames / 20, "{} flows", world.begun);
    let taken = ground.taken();
    println!("{taken} of {frames} frames never reached TC");
    assert!(taken > frames / 100 || hooks == Hooks::Tc, "{taken} frames");
    fair(&world);
}

/// Where no backend refuses and each has its turn, all of a family have had as many.
fn fair(world: &World) {
    for (port, frontend) in &world.frontends {
        for family in FAMILIES {
            let takers = world.takers(frontend, family);
            let taken = |index: &usize| frontend.taken.get(index).copied().unwrap_or_default();
            let counts: Vec<u64> = takers.iter().map(taken).collect();
            let (least, most) = (counts.iter().min(), counts.iter().max());
            if let (Policy::RoundRobin, true, Some(least), Some(most)) =
                (frontend.policy, !frontend.is_rough, least, most)
            {
                // Whoever left a silent backend went to whichever was another: by chance, at four sigma.
                let chance = 4 * frontend.elsewhere.isqrt();
                assert!(
                    most - least <= 10 + most / 10 + chance,
                    "{port:?} {family:?}: {counts:?}, {chance} by chance"
                );
            }
        }
    }
}

/// A seed that nobody has had.
pub(super) fn fresh() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_nanos() as u64
}

/// Finds the case that an outcome is, and lets the world follow.
pub(super) fn step(
    world: &mut World,
    side: Side,
    frame: &[u8],
    outcome: &Outcome,
) -> Result<Reading, String> {
    let (reading, cases) = world.judge(frame, side.hardware());
    let packet = reading.packet.as_ref();
    let mut wrong = String::new();
    let (mut found, mut is_ambiguous) = (None, false);
    for case in &cases {
        match holds(world, frame, packet, case, outcome) {
            Ok(chosen) if found.is_none() => found = Some((case, chosen)),
            Ok(_) => is_ambiguous |= found.is_some_and(|(first, _)| first.differs(case)),
            Err(reason) => {
                let _ = writeln!(wrong, "  not {:?} {:?}: {reason}", case.names, case.out);
            }
        }
    }
    let (case, chosen) = found.ok_or_else(|| {
        let own = |packet| {
            world
                .flow_of(packet)
                .or_else(|| world.flow_in(frame, packet))
        };
        let flow = packet.and_then(own);
        format!("{reading:?}\nof {flow:?}\n{wrong}{outcome:?}")
    })?;
    header_residue(frame, packet, outcome)?;
    let is_out = matches!(outcome.action, Action::Redirect | Action::Answer);
    if let (true, true, Err(wrong)) = (parse(frame).is_ok(), is_out, parse(&outcome.frame)) {
        return Err(format!("a right frame left wrong: {wrong}\n{outcome:?}"));
    }
    apply(world, case, chosen, &reading);
    if let Some(packet) = packet {
        let follows = case
            .then
            .iter()
            .any(|step| matches!(step, Step::Follow(..)));
        if let (Out::Between(from, to), false) = (&case.out, follows) {
            world.follow_unseen(packet, (*from, *to));
        }
        if is_drop(&outcome.verdict) || is_ambiguous {
            world.forget_turn(packet);
        }
        if is_ambiguous {
            world.doubt(packet);
        }
        note_sent(world, packet, outcome);
        if ["flows-full", "source-ports"].contains(&outcome.verdict.as_str()) {
            world.turns += 1;
        }
        match outcome.verdict.as_str() {
            "forward" => world.lead(packet),
            "fragment" => world.leave(packet),
            _ => {}
        }
        if ["too-big", "ttl-expired"].contains(&outcome.verdict.as_str()) {
            world.hide(packet);
            world.overhear(packet);
        }
    }
    Ok(reading)
}

/// Notes the checksum with which a datagram was sent on: an error about it quotes it.
fn note_sent(world: &mut World, packet: &Packet, outcome: &Outcome) {
    let has_sum = packet.protocol == protocol::UDP && !matches!(packet.part, Part::Later { .. });
    if has_sum && outcome.verdict == "forward" && outcome.action == Action::Redirect {
        world.sent(packet, word(&outcome.frame, packet.body + 6));
    }
}

fn apply(world: &mut World, case: &Case, chosen: Chosen, reading: &Reading) {
    for step in &case.then {
        let packet = reading.packet.as_ref();
        match (step, packet, chosen) {
            (Step::End(id), ..) => world.end(*id),
            (Step::Touch(id, way), Some(packet), _) => world.touch(*id, *way, packet),
            (Step::Open, Some(packet), Chosen::Flow { backend, source }) => {
                world.open(packet, backend, source);
            }
            (Step::Follow(id, way), Some(packet), _) => world.follow(*id, *way, packet),
            (Step::Refuse(id), ..) => world.refuse(*id),
            (Step::Move(is), ..) => world.moved(*is),
            (Step::Elsewhere, Some(packet), _) => world.forget_turn(packet),
            _ => unreachable!("a step without what it needs: {step:?}"),
        }
    }
}

/// Lets the generator know what left the node.
fn follow(generator: &mut Generator, side: Side, outcome: &Outcome) {
    if outcome.action == Action::Redirect && outcome.verdict == "forward" {
        generator.remember(side.other(), &outcome.frame);
    }
}

/// The key under which an answer to a frame would come.
fn answer(frame: &[u8]) -> Option<Key> {
    let hardware = frame.get(..6)?.try_into().ok()?;
    let key = read(frame, hardware).packet?.key()?;
    Some(Key {
        from: key.to,
        to: key.from,
        ..key
    })
}

fn fail(
    (seed, count): (u64, u64),
    wrong: &str,
    (side, frame): (Side, &[u8]),
    (world, history): (&World, &VecDeque<Entry>),
) -> Reading {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let packet = read(frame, side.hardware()).packet;
    let own = |packet| {
        world
            .flow_of(packet)
            .or_else(|| world.flow_in(frame, packet))
    };
    let flow = packet.as_ref().and_then(own);
    let part = |bytes: &[u8], side: Side| match read(bytes, side.hardware()).packet?.part {
        Part::Later { id, .. } | Part::First { id } if id != 0x1234 => Some(id),
        _ => None,
    };
    let own_part = part(frame, side);
    let own_key = packet.as_ref().and_then(|packet| packet.key());
    let quoted = packet.as_ref().and_then(|p| world.quoted_in(frame, p));
    let mut keys: Vec<Key> = own_key.into_iter().chain(quoted).collect();
    if let Some(flow) = flow {
        let backend = world.backends[flow.backend].address;
        keys.extend([Way::Forward, Way::Reply].map(|way| flow.key(way, backend)));
    }
    // Where packets of these keys went, and who else went there.
    let is_in = |keys: &[Key], key: &Option<Key>| key.is_some_and(|key| keys.contains(&key));
    for _ in 0..2 {
        let related = history
            .iter()
            .filter(|e| is_in(&keys, &e.key) || is_in(&keys, &e.answer));
        let more: Vec<Key> = related.flat_map(|e| [e.key, e.answer]).flatten().collect();
        keys.extend(more);
        keys.sort_by_key(|key| (key.protocol, key.from, key.to));
        keys.dedup();
    }
    let is_related = |entry: &&Entry| {
        own_part.is_some() && part(&entry.frame, entry.side) == own_part
            || is_in(&keys, &entry.key)
            || is_in(&keys, &entry.answer)
    };
    let mut shown: Vec<&Entry> = history.iter().filter(is_related).collect();
    let skip = shown.len().saturating_sub(40);
    shown.drain(..skip);
    let mut text = String::new();
    for entry in shown {
        let _ = writeln!(
            text,
            "  {:.1?} ago, {:?} {} {:?} {:?}: {}",
            entry.at.elapsed(),
            entry.side,
            entry.verdict,
            entry.key,
            entry.answer,
            hex(&entry.frame)
        );
    }
    panic!(
        "HARBOR_FUZZ_SEED={seed}, frame {count}, by the {side:?} side:\n{}\n{wrong}\nbefore it:\n{text}",
        hex(frame)
    )
}
