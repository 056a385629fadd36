//! What a trace says of packets: the steps that each took, and how many are left out.

use std::net::SocketAddr;

use kit::{Process, eventually, patient, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{SOON, sizes, text, trace, until_told, until_traced};
use crate::{
    engines::Engine,
    scene::{FAMILIES, Scene},
};

fn stages(packet: &Value) -> Vec<&str> {
    let stages = packet["stages"].as_array().expect("stages").iter();
    stages.map(|stage| stage.as_str().unwrap()).collect()
}

#[test]
fn every_packet_says_what_was_done_with_it() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let dns = scene.port("udp-dns");
        let file = scene.lab.folder().join("stages.pcapng");
        let path = file.to_str().unwrap();
        let arguments = ["-p", "udp-dns", "-n", "4", "-o", "json", "--pcap", path];
        let told = trace(&scene, "stages", &arguments);
        until_traced(&scene);
        let asker = traffic::Asker::new(&scene.lab.client, family);
        let packets = until_told(told, || {
            asker.ask(dns, b"?").unwrap();
        });
        let reply: &[&str] = &["parse", "reply", "flow", "translate"];
        let first: &[&str] = &["parse", "frontend", "admit", "select", "route", "translate"];
        let later: &[&str] = &["parse", "frontend", "flow", "translate"];
        for (packet, (taken, by)) in packets.iter().zip([
            (first, "eth1"),
            (reply, "eth0"),
            (later, "eth1"),
            (reply, "eth0"),
        ]) {
            assert_eq!(stages(packet), taken, "{packet}");
            assert_eq!(text(packet, "/leaves_by"), by, "{packet}");
        }
        let written = std::fs::read(&file).unwrap();
        for words in ["; stages parse frontend admit select", "; by eth1"] {
            let mut at = written.windows(words.len());
            assert!(at.any(|part| part == words.as_bytes()), "{words}");
        }
    }
}

#[test]
fn a_connection_that_is_refused_is_told_as_a_drop_with_how_far_it_came() {
    let scene = Scene::routed();
    let nobody = scene.at(scene.agent.create(&["nobody"]));
    let arguments = ["--verdict", "no-backend", "-n", "2", "-o", "json"];
    let packets = until_told(trace(&scene, "refused", &arguments), || {
        let refused = traffic::connect(&scene.lab.client, nobody, 1);
        assert_eq!(refused.errors.len(), 1);
    });
    for packet in &packets {
        assert_eq!(text(packet, "/name"), "no-backend");
        assert_eq!(text(packet, "/arriving/flags"), "syn", "{packet}");
        assert_eq!(stages(packet), ["parse", "frontend", "admit"], "{packet}");
        assert_eq!(packet["leaves_by"], Value::Null);
    }
}

/// Packets that were shown, and those that were said not to have been.
fn counts(trace: &Process) -> (u64, u64) {
    let printed = trace.printed();
    let (mut shown, mut missed) = (0, 0);
    for line in printed.lines() {
        match line.strip_prefix("harbor-ctl: ") {
            Some(said) => {
                let (count, rest) = said.split_once(' ').unwrap();
                assert!(rest.starts_with("more were not shown"), "{line}");
                missed += count.parse::<u64>().unwrap();
            }
            None => shown += u64::from(line.starts_with("forward")),
        }
    }
    (shown, missed)
}

const MANY: usize = 2_000;

fn ask_many(asker: &traffic::Asker, to: SocketAddr) {
    for _ in 0..MANY {
        asker.ask(to, b"?").unwrap();
    }
}

#[test]
fn what_comes_too_fast_is_left_out_and_counted() {
    for engine in [Engine::Tc, Engine::Xdp] {
        for family in FAMILIES {
            let scene = engine.routed().of(family);
            let dns = scene.port("udp-dns");
            let before = sizes(&scene);
            let arguments = ["-p", "udp-dns", "--per-second", "100", "-o", "name"];
            let told = trace(&scene, "fast", &arguments);
            until_traced(&scene);
            let asker = traffic::Asker::new(&scene.lab.client, family);
            ask_many(&asker, dns);
            // Each question, and each answer.
            let all = 2 * MANY as u64;
            eventually(patient(SOON), || {
                let (shown, missed) = counts(&told);
                shown + missed == all
            });
            let (shown, missed) = counts(&told);
            assert!(shown > 0 && missed > shown, "{shown} and {missed}");
            told.signal(Signal::SIGKILL);
            eventually(SOON, || sizes(&scene) == before);
        }
    }
}

#[test]
fn others_do_not_use_up_what_may_be_told_of_a_port_or_a_client() {
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let (busy, quiet) = (scene.port("udp-busy"), scene.port("udp-quiet"));
        let asker = traffic::Asker::new(&scene.lab.client, family);
        let noise = traffic::Asker::new(&scene.lab.client, family);
        let client = asker.address(scene.lab.client_address(family)).to_string();
        for (name, filter) in [
            ("port", ["-p", "udp-quiet"]),
            ("client", ["--client", &client]),
        ] {
            let before = sizes(&scene);
            let budget = ["--per-second", "100", "-n", "8", "-o", "name"];
            let mut told = trace(&scene, name, &[&filter[..], &budget].concat());
            until_traced(&scene);
            for _ in 0..4 {
                ask_many(&noise, busy);
                asker.ask(quiet, b"?").unwrap();
            }
            assert_eq!(told.wait(SOON), 0, "{}", told.printed());
            assert_eq!(counts(&told), (8, 0), "{}", told.printed());
            eventually(SOON, || sizes(&scene) == before);
        }
    }
}
