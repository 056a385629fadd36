//! Packets that somebody follows: told as they came in and as they leave, by nobody's loss.

mod told;

use std::{fs, time::Duration};

use kit::{Config, Process, binary, eventually, finish, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    engines::Engine,
    scene::{FAMILIES, Scene},
};

const SOON: Duration = Duration::from_secs(60);

/// Follows packets in the background.
fn trace(scene: &Scene, name: &str, arguments: &[&str]) -> Process {
    let mut command = scene.lab.node.command(binary("harbor-ctl"));
    command
        .arg("--socket")
        .arg(scene.agent.socket())
        .arg("trace")
        .args(arguments);
    Process::start(&mut command, scene.lab.folder(), name)
}

/// Carries on with this until the trace has told enough.
#[track_caller]
fn until_told(mut trace: Process, carry_on: impl Fn()) -> Vec<Value> {
    eventually(SOON, || {
        carry_on();
        !trace.is_running()
    });
    assert_eq!(trace.wait(SOON), 0, "{}", trace.printed());
    let printed = trace.printed();
    // What is left out is said between them.
    let packets = printed.lines().filter(|line| line.starts_with('{'));
    let packets = packets.map(serde_json::from_str);
    packets.map(|packet| packet.expect(&printed)).collect()
}

/// What the packet program takes: with a trace in it, it is larger.
fn sizes(scene: &Scene) -> Vec<u64> {
    let file = scene.agent.config_file().display().to_string();
    let programs = scene
        .agent
        .items(&["datapath", "programs", "--config", &file]);
    let packet = programs.iter().filter(|item| item["name"] == "harbor_tc");
    let sizes: Vec<u64> = packet
        .map(|item| item["jit_bytes"].as_u64().unwrap())
        .collect();
    assert!(!sizes.is_empty(), "{programs:?}");
    sizes
}

fn is_traced(scene: &Scene) -> bool {
    let status = scene.agent.ctl(&["status"]).stdout;
    status.contains("somebody traces")
}

/// Until the programs that tell are in the place of the others, and not only loaded.
fn until_traced(scene: &Scene) {
    eventually(SOON, || is_traced(scene));
}

fn text<'a>(packet: &'a Value, at: &str) -> &'a str {
    let found = packet.pointer(at).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("{at}: {packet}"))
}

#[test]
fn packets_of_a_port_are_told_both_ways_and_no_flow_is_lost() {
    for engine in [Engine::Tc, Engine::Xdp] {
        for family in FAMILIES {
            let scene = engine.routed().of(family);
            let (web, other) = (scene.port("web"), scene.port("other"));
            let live = traffic::Live::open(&scene.lab.client, web, 10);
            let before = sizes(&scene);
            let told = trace(&scene, "trace", &["-p", "web", "-n", "40", "-o", "json"]);
            let packets = until_told(told, || {
                live.progress();
                assert_eq!(
                    traffic::connect(&scene.lab.client, other, 2).errors.len(),
                    0
                );
            });
            assert_eq!(packets.len(), 40);
            let public = web.to_string();
            let mut ways = [0, 0];
            for packet in &packets {
                assert_eq!(text(packet, "/verdict"), "forward", "{packet}");
                assert_eq!(text(packet, "/arriving/protocol"), "tcp");
                let is_forth = text(packet, "/arriving/destination") == public;
                let backend = match is_forth {
                    true => text(packet, "/leaving/destination"),
                    false => text(packet, "/arriving/source"),
                };
                let apps = [0, 1].map(|index| scene.app(index).to_string());
                assert!(apps.iter().any(|app| app == backend), "{packet}");
                if !is_forth {
                    assert_eq!(text(packet, "/leaving/source"), public, "{packet}");
                }
                ways[usize::from(is_forth)] += 1;
            }
            assert!(ways.iter().all(|count| *count > 0), "{ways:?}");
            eventually(SOON, || sizes(&scene) == before);
            live.progress();
            assert_eq!(live.finish().errors, Vec::<String>::new());
        }
    }
}

#[test]
fn drops_are_told_with_their_reason_and_read_by_other_tools() {
    let scene = Scene::routed();
    let port = scene.agent.create(&["udp-nobody"]);
    let web = scene.port("web");
    let file = scene.lab.folder().join("drops.pcapng");
    let path = file.to_str().unwrap();
    let arguments = ["--verdict", "drop", "-n", "5", "-o", "json", "--pcap", path];
    let asker = traffic::Asker::new(&scene.lab.client, kit::V4);
    let packets = until_told(trace(&scene, "drops", &arguments), || {
        asker.send(scene.at(port), b"anybody?");
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
    });
    for packet in &packets {
        assert_eq!(text(packet, "/verdict"), "drop");
        assert_eq!(text(packet, "/name"), "no-backend", "{packet}");
        assert_eq!(
            text(packet, "/arriving/destination"),
            scene.at(port).to_string()
        );
    }
    let mut tcpdump = scene.lab.node.command("tcpdump");
    let read = finish(tcpdump.args(["-n", "-r", path])).ok().stdout;
    let asked = format!("> {}.{port}: UDP, length 8", scene.at(port).ip());
    assert_eq!(
        read.lines().filter(|line| line.contains(&asked)).count(),
        5,
        "{read}"
    );
    let written = fs::read(&file).unwrap();
    let comment = b"drop no-backend: ";
    let comments = written.windows(comment.len()).filter(|at| at == comment);
    assert_eq!(comments.count(), 5);
}

#[test]
fn one_may_trace_at_a_time_and_a_tracer_that_dies_leaves_nothing_behind() {
    let scene = Engine::Xdp.routed();
    let web = scene.port("web");
    let before = sizes(&scene);
    let path = || scene.agent.items(&["ports", "list"])[0]["path"].clone();
    // Linux 6.1 has none at XDP.
    let usual = path();
    let first = trace(&scene, "first", &["-o", "json"]);
    eventually(SOON, || {
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
        !first.printed().is_empty()
    });
    assert_ne!(sizes(&scene), before);
    assert_eq!(path(), "tc");
    let status = scene.agent.ctl(&["status"]).stdout;
    assert!(status.contains("somebody traces"), "{status}");
    let second = scene.agent.ctl(&["trace", "-n", "1"]);
    assert_ne!(second.code, 0);
    assert!(
        second.stderr.contains("somebody traces already"),
        "{}",
        second.stderr
    );
    first.signal(Signal::SIGKILL);
    eventually(SOON, || sizes(&scene) == before);
    assert_eq!(path(), usual);
    let status = scene.agent.ctl(&["status"]).stdout;
    assert!(!status.contains("somebody traces"), "{status}");
    let again = trace(&scene, "again", &["--one-in", "2", "-n", "3", "-o", "json"]);
    let packets = until_told(again, || {
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
    });
    assert_eq!(packets.len(), 3);
}

/// From before the programs are loaded until after.
const MOMENTS: [u64; 6] = [20, 100, 300, 600, 1_000, 1_500];

#[test]
fn a_tracer_that_dies_while_the_programs_are_loaded_leaves_nothing_behind() {
    let scene = Scene::routed();
    let before = sizes(&scene);
    for moment in MOMENTS {
        let tracer = trace(&scene, &format!("tracer-{moment}"), &["-o", "json"]);
        std::thread::sleep(Duration::from_millis(moment));
        tracer.signal(Signal::SIGKILL);
        // The status is asked behind the trace.
        eventually(SOON, || {
            let status = scene.agent.ctl(&["status"]).stdout;
            !status.contains("somebody traces") && sizes(&scene) == before
        });
    }
    // Whoever comes next finds nobody in the way.
    let web = scene.port("web");
    let next = trace(&scene, "next", &["-n", "3", "-o", "json"]);
    let packets = until_told(next, || {
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
    });
    assert_eq!(packets.len(), 3);
}

#[test]
fn a_trace_of_nothing_that_comes_holds_nobody_up() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let before = sizes(&scene);
    let elsewhere = trace(
        &scene,
        "elsewhere",
        &["--client", "192.0.2.1", "-o", "json"],
    );
    eventually(SOON, || sizes(&scene) != before);
    let live = traffic::Live::open(&scene.lab.client, web, 20);
    for _ in 0..20 {
        live.progress();
        assert_eq!(traffic::connect(&scene.lab.client, web, 20).errors.len(), 0);
    }
    assert_eq!(live.finish().errors, Vec::<String>::new());
    assert_eq!(elsewhere.printed(), "");
    elsewhere.signal(Signal::SIGKILL);
    eventually(SOON, || sizes(&scene) == before);
}

#[test]
fn what_cannot_be_traced_is_refused_with_the_reason() {
    let scene = Scene::on(
        kit::Lab::routed(),
        &Config::with("[datapath]\nmode = \"proxy\"\n"),
    );
    for (arguments, words) in [
        (&["trace", "-n", "1"][..], "the proxy forwards alone"),
        (&["trace", "--verdict", "dropp"], "did you mean drop?"),
        (&["trace", "--client", "nobody"], "IP or IP:PORT"),
        (&["trace", "-p", "nothing"], "nothing"),
        (&["trace", "--one-in", "0"], "--one-in"),
        (&["trace", "--pcap", "/nowhere/at/all"], "/nowhere/at/all"),
    ] {
        let refused = scene.agent.ctl(arguments);
        assert_ne!(refused.code, 0, "{arguments:?}");
        assert!(
            refused.stderr.contains(words),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
}

/// Rounds, and questions of each.
const ROUNDS: usize = 7;
const QUESTIONS: usize = 5_000;

/// Nanoseconds of a run of the packet program while these questions are asked.
fn cost(scene: &Scene, asker: &traffic::Asker, to: std::net::SocketAddr) -> f64 {
    let file = scene.agent.config_file().display().to_string();
    let sum = || {
        let programs = scene
            .agent
            .items(&["datapath", "programs", "--config", &file]);
        let packet = programs.iter().filter(|item| item["name"] == "harbor_tc");
        packet.fold((0, 0), |(runs, time), item| {
            let number = |key: &str| item[key].as_u64().unwrap();
            (runs + number("runs"), time + number("run_time_ns"))
        })
    };
    let before = sum();
    for _ in 0..QUESTIONS {
        asker.ask(to, b"?").unwrap();
    }
    let after = sum();
    (after.1 - before.1) as f64 / (after.0 - before.0) as f64
}

/// The kernel times every run of a program as long as this lives.
struct Statistics(String);

impl Statistics {
    const FILE: &str = "/proc/sys/kernel/bpf_stats_enabled";

    fn switch_on() -> Self {
        let before = fs::read_to_string(Self::FILE).unwrap();
        fs::write(Self::FILE, "1\n").unwrap();
        Self(before)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(Self::FILE, &self.0);
    }
}

#[test]
#[ignore = "measures: the machine must be quiet"]
fn what_a_traced_packet_costs() {
    let scene = Scene::routed();
    let dns = scene.port("udp-dns");
    let asker = traffic::Asker::new(&scene.lab.client, kit::V4);
    let _statistics = Statistics::switch_on();
    let ways = [("told", "10000000"), ("left out", "1")];
    let mut ratios = ways.map(|_| Vec::new());
    for round in 0..ROUNDS {
        for ((name, per_second), ratios) in ways.iter().zip(&mut ratios) {
            let plain = cost(&scene, &asker, dns);
            let arguments = ["-o", "name", "--per-second", per_second];
            let trace = trace(&scene, &format!("cost-{round}"), &arguments);
            until_traced(&scene);
            let traced = cost(&scene, &asker, dns);
            trace.signal(Signal::SIGKILL);
            eventually(SOON, || !is_traced(&scene));
            println!("plain {plain:.0} ns, {name} {traced:.0} ns");
            ratios.push(traced / plain);
        }
    }
    for ((name, _), mut ratios) in ways.into_iter().zip(ratios) {
        ratios.sort_by(f64::total_cmp);
        let at = |part: usize| ratios[part * (ratios.len() - 1) / 4];
        println!("{name}: {:.2} [{:.2}..{:.2}]", at(2), at(1), at(3));
    }
}
