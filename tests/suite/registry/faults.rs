//! Every way in which a Redis can fail, under traffic: no connection and no port is lost, changes
//! are refused with the reason, and the node is in sync after its return. How soon is printed.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kit::{Redis, eventually, finish, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::{LONGEST, Shared, is_healed, is_noticed};
use crate::{scene::Scene, soak};

/// A fault is noticed within this time, on any machine: the configured timeout is half a second.
pub(super) const NOTICED: Duration = Duration::from_secs(10);
/// Connections that talk all the time.
const LIVE: usize = 50;
const PORTS: usize = 12;

/// A way to fail, and what brings it back.
struct Fault {
    name: &'static str,
    begin: fn(&mut Redis, &Scene),
    end: fn(&mut Redis, &Scene),
}

/// Faults that last until they are ended.
const FAULTS: [Fault; 6] = [
    Fault {
        name: "killed",
        begin: |redis, _| redis.kill(),
        end: |redis, _| redis.restart(),
    },
    Fault {
        name: "halted",
        begin: |redis, _| redis.signal(Signal::SIGSTOP),
        end: |redis, _| redis.signal(Signal::SIGCONT),
    },
    Fault {
        name: "partitioned",
        begin: |_, scene| cut(scene),
        end: |_, scene| mend(scene),
    },
    Fault {
        name: "read-only",
        begin: |redis, _| drop(redis.say(&["replicaof", "127.0.0.1", "1"]).ok()),
        end: |redis, _| drop(redis.say(&["replicaof", "no", "one"]).ok()),
    },
    Fault {
        name: "of wrong types",
        begin: |redis, _| KEYS.iter().for_each(|key| plant(redis, key)),
        end: |redis, _| drop(redis.say(&["flushall"]).ok()),
    },
    Fault {
        name: "overfull",
        begin: |redis, _| {
            let script = "for i = 1, 140001 do redis.call('HSET', KEYS[1], i, i) end \
                          redis.call('HINCRBY', KEYS[2], 'seq', 7)";
            let keys = ["{harbor:harbor}:services", "{harbor:harbor}:meta"];
            redis.say(&["eval", script, "2", keys[0], keys[1]]).ok();
        },
        end: |redis, _| drop(redis.say(&["flushall"]).ok()),
    },
];

const KEYS: [&str; 6] = [
    "meta", "services", "numbers", "changes", "tokens", "announce",
];

fn plant(redis: &Redis, part: &str) {
    redis
        .say(&["set", &format!("{{harbor:harbor}}:{part}"), "garbage"])
        .ok();
}

/// Cuts the server off from everybody but itself.
fn cut(scene: &Scene) {
    let rules = "add table inet cut
        add chain inet cut in { type filter hook input priority 0 ; }
        add rule inet cut in iifname != lo tcp dport 6379 drop";
    finish(scene.lab.apps[1].command("nft").arg(rules)).ok();
}

fn mend(scene: &Scene) {
    finish(
        scene.lab.apps[1]
            .command("nft")
            .arg("delete table inet cut"),
    )
    .ok();
}

/// What must be the same whatever happens: every port with its backends.
pub(super) fn inventory(scene: &Scene) -> Vec<Value> {
    let document = scene.agent.ctl_json(&["state", "export"]);
    let mut services = document["services"].as_array().unwrap().clone();
    services.sort_by_key(|service| service["id"].to_string());
    services
}

pub(super) fn registry(scene: &Scene) -> Value {
    scene.agent.ctl_json_whatever(&["status"])["registry"].clone()
}

/// In sync: the registry is well, and it, its journal and the kernel agree.
#[track_caller]
pub(super) fn is_in_sync(scene: &Scene) {
    eventually(LONGEST, || registry(scene)["state"] == "ok");
    let check = scene.agent.ctl(&["state", "check"]);
    assert_eq!(check.code, 0, "{}", check.stdout);
}

/// A node with ports, all of the same backends; the first is the one that connections go to.
fn populated() -> (Shared, SocketAddr) {
    let shared = Shared::within("500ms");
    let client = &shared.scene.lab.client;
    // The client must not run out of ports of its own.
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let web = shared.scene.port("web");
    for number in 1..PORTS {
        shared.scene.port(&format!("port{number}"));
    }
    (shared, web)
}

/// Does something while connections are opened all the time and others talk; none may fail.
pub(super) fn under_traffic(scene: &Scene, web: SocketAddr, work: impl FnOnce()) -> usize {
    let client = scene.lab.client.clone();
    let live = traffic::Live::open(&client, web, LIVE);
    let ends = AtomicBool::new(false);
    let fresh = thread::scope(|scope| {
        let connects = scope.spawn(|| {
            let mut count = 0;
            while !ends.load(Ordering::Relaxed) {
                let tally = traffic::connect(&client, web, 20);
                assert_eq!(
                    tally.errors,
                    Vec::<String>::new(),
                    "after {count} connections"
                );
                count += 20;
            }
            count
        });
        // The other thread must end even if this one fails.
        let ended = End(&ends);
        work();
        drop(ended);
        connects.join().unwrap()
    });
    live.progress();
    let tally = live.finish();
    assert_eq!(tally.errors, Vec::<String>::new());
    fresh
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One fault from its beginning until everything is well again; how long that took after its end.
#[track_caller]
fn suffer(scene: &Scene, redis: &mut Redis, fault: &Fault) -> Duration {
    let before = inventory(scene);
    (fault.begin)(redis, scene);
    let named = format!("a Redis that is {}", fault.name);
    is_noticed(&scene.agent, &named, |_| true);
    let refused = scene.agent.ctl(&["ports", "create", "late", "-o", "json"]);
    assert_eq!(
        refused.code, 7,
        "{}: {}{}",
        fault.name, refused.stdout, refused.stderr
    );
    assert!(
        refused.stderr.contains("not_ready"),
        "{}: {}",
        fault.name,
        refused.stderr
    );
    assert!(
        refused.stderr.contains("away") && refused.stderr.contains("fix"),
        "{}",
        refused.stderr
    );
    assert_eq!(inventory(scene), before, "{}", fault.name);
    (fault.end)(redis, scene);
    let took = is_healed(&scene.agent, &named);
    is_in_sync(scene);
    assert_eq!(inventory(scene), before, "{}", fault.name);
    took
}

#[test]
fn no_fault_of_redis_costs_a_connection_or_a_port() {
    let (Shared { scene, mut redis }, web) = populated();
    let fresh = under_traffic(&scene, web, || {
        for fault in &FAULTS {
            suffer(&scene, &mut redis, fault);
            // It works again, in both directions.
            for value in ["drain_s=31", "drain_s=30"] {
                let set = ["ports", "set", "web", value];
                eventually(NOTICED, || scene.agent.ctl(&set).code == 0);
            }
        }
    });
    println!("{fresh} new connections, {LIVE} live, 0 lost");
}

#[test]
fn an_emptied_redis_is_filled_again() {
    let (Shared { scene, redis }, web) = populated();
    let before = inventory(&scene);
    under_traffic(&scene, web, || {
        for _ in 0..3 {
            redis.say(&["flushall"]).ok();
            let begun = Instant::now();
            let count = || redis.say(&["hlen", "{harbor:harbor}:services"]).stdout;
            eventually(LONGEST, || count() == format!("{PORTS}\n"));
            println!("an emptied Redis: filled after {:.2?}", begun.elapsed());
            is_in_sync(&scene);
            assert_eq!(inventory(&scene), before);
        }
    });
}

#[test]
fn a_value_of_a_hundred_megabytes_stays_where_it_is() {
    let (Shared { mut scene, redis }, web) = populated();
    let before = inventory(&scene);
    let id = scene.agent.ctl_json(&["ports", "show", "port1"])["id"].clone();
    let memory = |scene: &mut Scene| -> u64 {
        let status = format!("/proc/{}/status", scene.agent.process().id());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap()
            .to_owned();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let peak = memory(&mut scene);
    let huge = "local huge = string.rep('x', 104857600)
        redis.call('HSET', KEYS[1], ARGV[1], huge)
        redis.call('XADD', KEYS[2], '*', 'm', huge)
        local seq = redis.call('HINCRBY', KEYS[4], 'seq', 1)
        redis.call('XADD', KEYS[3], seq .. '-0', 'id', ARGV[1])
        redis.call('XADD', KEYS[3], '*', 'id', huge)";
    let key = |part: &str| format!("{{harbor:harbor}}:{part}");
    let keys = ["services", "announce", "changes", "meta"].map(key);
    under_traffic(&scene, web, || {
        let mut words = vec!["eval", huge, "4"];
        words.extend(keys.iter().map(String::as_str));
        words.push(id.as_str().unwrap());
        redis.say(&words).ok();
        eventually(NOTICED, || {
            registry(&scene)["text"].to_string().contains("104857600")
        });
        assert_eq!(inventory(&scene), before);
    });
    let grown = memory(&mut scene) - peak;
    assert!(grown < 64 * 1024, "{grown} kB more than before");
    // The next change of that service puts the record right. A server that copies such a value may
    // be away for a moment.
    let set = ["ports", "set", "port1", "drain_s=31"];
    eventually(NOTICED, || scene.agent.ctl(&set).code == 0);
    redis.say(&["del", &keys[1]]).ok();
    is_in_sync(&scene);
}

/// Removes six ports from the registry behind everybody's back, the first one among them.
fn lose_six(scene: &Scene, redis: &Redis) -> Vec<String> {
    let first = scene.agent.ctl_json(&["ports", "show", "web"])["id"].clone();
    let first = first.as_str().unwrap().to_owned();
    let all = inventory(scene);
    let ids = all
        .iter()
        .map(|service| service["id"].as_str().unwrap().to_owned());
    let mut lost: Vec<String> = ids.filter(|id| *id != first).take(5).collect();
    lost.push(first);
    let mut words = vec!["hdel", "{harbor:harbor}:services"];
    words.extend(lost.iter().map(String::as_str));
    redis.say(&words).ok();
    // A change that nobody wrote down is a gap: everything is compared.
    let gap = ["hincrby", "{harbor:harbor}:meta", "seq", "5"];
    redis.say(&gap).ok();
    lost
}

#[test]
fn ports_that_vanish_without_a_word_are_put_back() {
    let (Shared { scene, redis }, web) = populated();
    let before = inventory(&scene);
    under_traffic(&scene, web, || {
        lose_six(&scene, &redis);
        let count = || redis.say(&["hlen", "{harbor:harbor}:services"]).stdout;
        eventually(LONGEST, || count() == format!("{PORTS}\n"));
        is_in_sync(&scene);
        assert_eq!(inventory(&scene), before);
    });
}

#[test]
fn ports_that_were_deleted_while_nobody_listened_stay_until_they_are_confirmed() {
    let (Shared { scene, redis }, web) = populated();
    let before = inventory(&scene);
    under_traffic(&scene, web, || {
        let ids = before.iter().map(|service| service["id"].as_str().unwrap());
        for id in ids {
            redis.say(&["zadd", "{harbor:harbor}:buried", "1", id]).ok();
        }
        lose_six(&scene, &redis);
        let text = || registry(&scene)["text"].to_string();
        eventually(NOTICED, || {
            text().contains("6 ports of this node are missing")
        });
        assert_eq!(inventory(&scene), before);
        assert_eq!(scene.agent.ctl(&["state", "check"]).code, 7);
    });
    let asked = scene.agent.ctl(&["state", "confirm"]);
    assert_eq!(asked.code, 2, "it asks: {}", asked.stderr);
    let done = scene.agent.ctl(&["state", "confirm", "--yes"]).ok();
    assert_eq!(done.stdout, "6 ports are gone\n");
    assert_eq!(inventory(&scene).len(), PORTS - 6);
    eventually(NOTICED, || {
        !traffic::connect(&scene.lab.client, web, 1)
            .errors
            .is_empty()
    });
}

/// `cargo xtask soak redis`
#[test]
#[ignore = "runs for minutes"]
fn soak_redis_fails_all_the_time() {
    let (Shared { scene, mut redis }, web) = populated();
    let (begun, mut rounds, mut slowest) = (Instant::now(), 0, Duration::ZERO);
    let fresh = under_traffic(&scene, web, || {
        // Half of the time in one long partition, half in every fault over and over.
        cut(&scene);
        eventually(NOTICED, || registry(&scene)["state"] != "ok");
        let before = inventory(&scene);
        eventually(soak::duration(), || {
            assert_eq!(inventory(&scene), before);
            begun.elapsed() > soak::duration() / 2
        });
        mend(&scene);
        is_in_sync(&scene);
        while begun.elapsed() < soak::duration() {
            let took = FAULTS.iter().map(|fault| suffer(&scene, &mut redis, fault));
            slowest = slowest.max(took.max().unwrap_or_default());
            rounds += 1;
        }
    });
    println!(
        "{rounds} rounds of {} faults, in sync {slowest:?} after the slowest; {fresh} connections, 0 lost",
        FAULTS.len()
    );
}
