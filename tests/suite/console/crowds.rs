//! Crowds at the console's door: passwords that are guessed, and streams that are opened, by the thousand.
//! The console's own bounds hold, the agent does not grow, and the command line answers meanwhile.

use std::{
    io::Read as _,
    net::TcpStream,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kit::eventually;

use super::{
    ADMIN, READER,
    client::{Client, wait_for},
    scene,
};
use crate::scene::Scene;

/// What a crowd may leave behind in the agent, in KiB.
const MEMORY: u64 = 16 * 1_024;
/// Streams at once, as the page on the console says.
const STREAMS: usize = 32;
/// Guesses at once.
const GUESSERS: usize = 8;
/// Addresses that a crowd comes from.
const ADDRESSES: u8 = 32;

#[test]
fn ten_thousand_wrong_passwords_are_slowed_down_and_told_once() {
    println!("{}", guess(10_000));
}

#[test]
fn two_thousand_streams_keep_nobody_out() {
    println!("{}", stream(2_000));
}

/// Has the command line ask; how long that took.
#[track_caller]
fn asked(scene: &Scene) -> Duration {
    let begun = Instant::now();
    let status = scene.agent.ctl(&["status"]);
    assert!([0, 7].contains(&status.code), "{status:?}");
    begun.elapsed()
}

/// Guesses so many passwords of somebody, some at once.
fn guess(count: usize) -> String {
    let mut scene = scene("");
    let node = scene.lab.node.clone();
    wait_for(&node);
    let ann = Client::signed_in(&node, ADMIN);
    let before = scene.agent.process().memory();
    let (next, checked, slowed) = <(AtomicUsize, AtomicUsize, AtomicUsize)>::default();
    let begun = Instant::now();
    let slowest = thread::scope(|scope| {
        let guesser = || {
            let client = Client::new(&node);
            loop {
                let number = next.fetch_add(1, Relaxed);
                if number >= count {
                    return;
                }
                match client.sign_in(READER.0, &number.to_string()).status {
                    401 => checked.fetch_add(1, Relaxed),
                    429 => slowed.fetch_add(1, Relaxed),
                    other => panic!("guess {number} was answered with {other}"),
                };
            }
        };
        let guessers: Vec<_> = (0..GUESSERS).map(|_| scope.spawn(guesser)).collect();
        let mut slowest = Duration::ZERO;
        while guessers.iter().any(|guesser| !guesser.is_finished()) {
            slowest = slowest.max(asked(&scene));
        }
        slowest
    });
    let took = begun.elapsed();
    let (checked, slowed) = (checked.into_inner(), slowed.into_inner());
    assert_eq!(checked + slowed, count);
    // Ten at once, and one in ten seconds after that.
    let allowed = 10 + 1 + took.as_secs() as usize / 10;
    assert!(checked <= allowed, "{checked} were checked in {took:?}");
    let told = scene.agent.items(&["events", "--since", "1h"]);
    let is_guess = |event: &&serde_json::Value| event.to_string().contains("a wrong password");
    let told = told.iter().filter(is_guess).count();
    assert!((1..=1 + checked).contains(&told), "{told} events");
    assert_eq!(ann.get("/").status, 200, "who is signed in stays so");
    // And whoever has another name signs in from the same address.
    Client::signed_in(&node, ADMIN);
    let after = scene.agent.process().memory();
    assert!(after <= before + MEMORY, "{before} KiB became {after}");
    format!(
        "{count} wrong passwords in {took:.2?}: {checked} checked, {slowed} refused unseen, {told} events, \
         agent {before} -> {after} KiB, the slowest status meanwhile {slowest:.2?}"
    )
}

/// Opens so many streams that nobody reads, of somebody who may: from one address, then from many.
fn stream(count: usize) -> String {
    let mut scene = scene("");
    let node = scene.lab.node.clone();
    wait_for(&node);
    kit::allow_many_descriptors();
    let [ann, bob] = [ADMIN, READER].map(|user| Client::signed_in(&node, user));
    let before = scene.agent.process().memory();
    let mut told = String::new();
    for addresses in [1, ADDRESSES] {
        let streams = (0..count).map(|n| ann.stream_from(1 + (n % usize::from(addresses)) as u8));
        let mut streams: Vec<TcpStream> = streams.collect();
        let slowest = asked(&scene);
        // Who comes to look is let in, whatever the crowd holds.
        eventually(Duration::from_secs(30), || {
            ann.try_get("/").is_some_and(|answer| answer.status == 200)
        });
        let answered = streams.iter_mut().filter_map(answer);
        let live = answered.filter(|head| head.starts_with("HTTP/1.1 200"));
        let live = live.count();
        assert!(live <= STREAMS, "{live} streams are live");
        // A crowd of one user keeps no other one out.
        eventually(Duration::from_secs(30), || {
            let mut other = bob.stream_from(200);
            answer(&mut other).is_some_and(|head| head.starts_with("HTTP/1.1 200"))
        });
        let during = scene.agent.process().memory();
        assert!(during <= before + MEMORY, "{before} KiB became {during}");
        told += &format!(
            "{count} streams from {addresses} addresses: {live} live, agent {before} -> {during} KiB, status in \
             {slowest:.2?}; "
        );
        drop(streams);
    }
    eventually(Duration::from_secs(30), || {
        let mut own = ann.stream_from(1);
        answer(&mut own).is_some_and(|head| head.starts_with("HTTP/1.1 200"))
    });
    told
}

/// The beginning of what came back, if anything has.
fn answer(stream: &mut TcpStream) -> Option<String> {
    stream
        .set_read_timeout(Some(Duration::from_millis(10)))
        .unwrap();
    let mut head = [0; 64];
    let length = stream.read(&mut head).ok().filter(|length| *length > 0)?;
    Some(String::from_utf8_lossy(&head[..length]).into_owned())
}
