//! Garbage in every key of a shared registry: nothing ends, and nothing changes, neither in what the
//! agent says nor in the kernel's tables.

use std::{collections::BTreeSet, path::Path, time::Duration};

use kit::{Redis, eventually, finish_within, traffic};
use serde_json::{Value, json};

use super::Shared;
use crate::{model::random::Random, scene::Scene};

/// Garbage that CI plants; a soak plants many times more.
const RECORDS: usize = 20_000;
const PORTS: usize = 8;
const SOON: Duration = Duration::from_secs(20);
const MINUTES: Duration = Duration::from_secs(300);
/// Commands that one run of redis-cli gets.
const AT_ONCE: usize = 500;

/// Values that no field may have, and some that would be good elsewhere.
const ODD: [&str; 22] = [
    "null",
    "true",
    "-1",
    "0",
    "65536",
    "1e308",
    "18446744073709551616",
    "\"\"",
    "[]",
    "{}",
    "\"a\\u0000b\"",
    "\"\\u001b[31mred\"",
    "\"127.0.0.1:80\"",
    "\"169.254.169.254:80\"",
    "\"224.0.0.1:1\"",
    "\"[::1]:80\"",
    "\"10.77.1.1:80\"",
    "\"[fe80::1]:80\"",
    "\"0.0.0.0:0\"",
    "\"..\\/..\\/etc\"",
    "[[[[[[[[]]]]]]]]",
    "\"both\"",
];

/// One way to spoil a record.
fn spoil(record: &Value, random: &mut Random) -> Vec<u8> {
    let mut text = record.to_string().into_bytes();
    match random.below(5) {
        // Cut off, overwritten, doubled.
        0 => text.truncate(random.below(text.len())),
        1 => {
            for _ in 0..=random.below(6) {
                let place = random.below(text.len());
                text[place] = random.below(32) as u8;
            }
        }
        2 => {
            let length = 1 + random.below(200);
            text = random.bytes(length);
        }
        // One field is odd; its own or a backend's.
        way => {
            let mut odd = record.clone();
            let object = match way {
                3 => &mut odd,
                _ => &mut odd["backends"][0],
            };
            let fields: Vec<String> = object.as_object().unwrap().keys().cloned().collect();
            let field = random.of(&fields);
            object[field.as_str()] = serde_json::from_str(random.of(&ODD)).unwrap_or(json!(1e300));
            text = odd.to_string().into_bytes();
        }
    }
    text
}

/// Bytes as redis-cli reads them.
fn quoted(bytes: &[u8]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Commands that plant this much garbage. Records that happen to be good are left out: they would be
/// changes.
fn garbage(services: &[Value], count: usize, random: &mut Random) -> Vec<String> {
    let key = |part: &str| format!("{{harbor:harbor}}:{part}");
    let mut lines = Vec::new();
    while lines.len() < count {
        let service = random.of(services);
        let bytes = quoted(&spoil(&service, random));
        let id = match random.once_in(3) {
            true => quoted(&random.bytes(12)),
            false => service["id"].to_string(),
        };
        let number = random.below(70_000);
        lines.push(match random.below(9) {
            // A record is news only if the stream says so.
            0..=3 => format!(
                "eval \"redis.call('hset', KEYS[1], ARGV[1], ARGV[2]) local s = redis.call('hincrby', KEYS[2], 'seq', 1) redis.call('xadd', KEYS[3], s .. '-0', 'id', ARGV[1])\" 3 {} {} {} {id} {}",
                key("services"), key("meta"), key("changes"),
                // Its own id with a good body would be a change of its own.
                if id.contains('-') { unreadable(&bytes) } else { bytes },
            ),
            4 => format!("xadd {} * m {bytes}", key("announce")),
            5 => format!("hset {} {bytes} {bytes}", key("app_hosts")),
            6 => format!("zadd {} {number} {bytes}", key("leases")),
            7 => format!("hset {} {bytes} {bytes}", key("nodes")),
            _ => format!("zadd {} {number} {bytes}", key("resting")),
        });
    }
    lines
}

/// The same bytes and one that JSON does not know: certainly no record.
fn unreadable(bytes: &str) -> String {
    format!("{}\\x01\"", bytes.trim_end_matches('"'))
}

/// The tables that decide where packets go.
fn tables(scene: &Scene) -> Vec<String> {
    let dump = |name: &str| {
        let mut command = scene.lab.node.command("bpftool");
        command.args(["--json", "map", "dump", "pinned"]);
        // A hundred thousand elements, each printed: minutes on a machine that is busy.
        finish_within(MINUTES, command.arg(scene.lab.maps().join(name)))
            .ok()
            .stdout
    };
    ["frontends", "backend_sets", "backends"].map(dump).to_vec()
}

fn plant(redis: &Redis, lines: &[String]) {
    for part in lines.chunks(AT_ONCE) {
        redis.say_all(&(part.join("\n") + "\n"));
    }
}

/// Plants garbage and holds what is said and what is forwarded against what was before.
fn withstands(count: usize, seed: u64) {
    let Shared { mut scene, redis } = Shared::start();
    let web = scene.port("web");
    for number in 1..PORTS {
        scene.port(&format!("port{number}"));
    }
    let export = |scene: &Scene| scene.agent.ctl_json(&["state", "export"])["services"].clone();
    let (before, forwarded) = (export(&scene), tables(&scene));
    let services = before.as_array().unwrap().clone();
    let mut random = Random(seed);
    plant(&redis, &garbage(&services, count, &mut random));
    // All of it was read: what comes last is noticed.
    let last = "hset {harbor:harbor}:services last x\nhincrby {harbor:harbor}:meta seq 3\n";
    redis.say_all(last);
    let text =
        |scene: &Scene| scene.agent.ctl_json_whatever(&["status"])["registry"]["text"].to_string();
    eventually(SOON, || text(&scene).contains("records are refused"));
    eventually(SOON, || {
        let check = scene.agent.ctl_json_whatever(&["state", "check"]);
        check["differences"]
            .as_array()
            .is_some_and(|list| !list.is_empty())
    });
    assert!(scene.agent.is_running(), "{}", scene.agent.printed());
    assert_eq!(export(&scene), before);
    assert_eq!(tables(&scene), forwarded);
    assert_eq!(traffic::connect(&scene.lab.client, web, 10).errors.len(), 0);
    // What an agent finds at its start is no better.
    scene.agent.kill();
    scene.agent.restart();
    assert_eq!(export(&scene), before);
    assert_eq!(traffic::connect(&scene.lab.client, web, 10).errors.len(), 0);
}

#[test]
fn garbage_in_the_registry_changes_nothing() {
    withstands(RECORDS, 1);
}

#[test]
#[ignore = "runs for minutes"]
fn soak_malformed_registry() {
    // A million in all.
    for seed in 2..12 {
        withstands(5 * RECORDS, seed);
    }
}

/// Spoils a file in one place, or cuts it off.
fn spoil_file(path: &Path, whole: &[u8], random: &mut Random) {
    let mut bytes = whole.to_vec();
    match random.below(4) {
        0 => bytes.truncate(random.below(bytes.len())),
        1 => bytes.fill(0xff),
        _ => {
            for _ in 0..64 {
                let place = random.below(bytes.len());
                bytes[place] ^= 1 << random.below(8);
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_spoilt_journal_is_no_state() {
    let Shared {
        mut scene,
        mut redis,
    } = Shared::start();
    let web = scene.port("web");
    scene.port("api");
    let export = |scene: &Scene| scene.agent.ctl_json(&["state", "export"])["services"].clone();
    let before = export(&scene);
    scene.agent.stop();
    let journal = scene.agent.folder().join("state/journal-harbor.redb");
    let whole = std::fs::read(&journal).unwrap();
    let mut random = Random(7);
    for _ in 0..8 {
        spoil_file(&journal, &whole, &mut random);
        scene.agent.restart();
        assert_eq!(export(&scene), before, "the registry says what is so");
        assert_eq!(traffic::connect(&scene.lab.client, web, 2).errors.len(), 0);
        scene.agent.stop();
    }
    // With nothing to start from, an agent does not start, and what the kernel has stays.
    redis.kill();
    std::fs::write(&journal, b"no journal").unwrap();
    scene.agent.launch();
    assert_eq!(
        scene.agent.wait_until_ended(),
        7,
        "{}",
        scene.agent.printed()
    );
    assert_eq!(traffic::connect(&scene.lab.client, web, 4).errors.len(), 0);
    let lines: BTreeSet<_> = scene
        .agent
        .log("redis")
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(
        lines.iter().any(|line| line.contains("set aside")),
        "{lines:?}"
    );
}
