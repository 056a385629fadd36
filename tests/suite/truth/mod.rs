//! `status` names the part of every fault that the suite can make, and is well again when the cause is
//! gone. A part that no fault is made of fails the test.

mod faults;
mod shown;

use std::{
    collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration,
};

use kit::{Agent, Lab, Redis, eventually};
use serde_json::Value;

use crate::registry::{other, redis_of};
use faults::{FAULTS, node, password};

/// It is said, and it is over, within this time; the agent itself looks at some things every few seconds.
const SOON: Duration = Duration::from_secs(20);

fn part(agent: &Agent, name: &str) -> (bool, String) {
    let status = agent.ctl_json_whatever(&["status"]);
    let part = &status[name];
    (
        part["state"] == "ok",
        part["text"].as_str().unwrap_or_default().to_owned(),
    )
}

/// Waits until a part is not well and says so, in the state of the whole and the exit code too.
#[track_caller]
fn is_named(agent: &Agent, name: &str, says: &str) {
    let mut last = String::new();
    let mut is_so = || {
        let (is_ok, text) = part(agent, name);
        last = text;
        !is_ok && last.contains(says)
    };
    println!("{name} shall say {says:?}");
    eventually(SOON, &mut is_so);
    println!("{name} says {last:?}");
    let status = agent.ctl(&["status", "-o", "json"]);
    assert_eq!(status.code, 7, "{}", status.stdout);
    assert_eq!(status.json()["overall"], "degraded");
}

#[track_caller]
fn is_well(agent: &Agent, name: &str) {
    eventually(SOON, || part(agent, name).0);
}

#[test]
fn every_fault_is_named_by_its_part_and_over_when_its_cause_is() {
    let mut node = node();
    // Nobody could read the password when the agent started.
    for api in ["control", "console", "gateway"] {
        is_named(&node.scene.agent, api, "does not run");
    }
    let file = password(&node.scene.lab);
    fs::write(&file, "a-password-of-platforms\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for api in ["control", "console", "gateway"] {
        is_well(&node.scene.agent, api);
    }
    eventually(SOON, || node.scene.agent.ctl(&["status"]).code == 0);
    for fault in &FAULTS {
        let begun = std::time::Instant::now();
        (fault.make)(&mut node);
        is_named(&node.scene.agent, fault.part, fault.says);
        let named = begun.elapsed();
        (fault.heal)(&mut node);
        is_well(&node.scene.agent, fault.part);
        println!(
            "{}: named after {named:.1?}, well after {:.1?}",
            fault.part,
            begun.elapsed()
        );
        eventually(SOON, || node.scene.agent.ctl(&["status"]).code == 0);
    }
    let known = ["control", "console", "gateway"].into_iter().chain(SHARED);
    let known = known.chain(FAULTS.iter().map(|fault| fault.part));
    let known: BTreeSet<&str> = known.collect();
    assert_eq!(
        parts(&node.scene.agent),
        known.into_iter().map(str::to_owned).collect()
    );
}

/// Every part that `status` has.
fn parts(agent: &Agent) -> BTreeSet<String> {
    let status = agent.ctl_json_whatever(&["status"]);
    let is_part = |value: &Value| value["state"].is_string() && value["text"].is_string();
    let all = status.as_object().unwrap().iter();
    all.filter(|(_, value)| is_part(value))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Parts of which faults are made where nodes share a registry.
const SHARED: [&str; 2] = ["nodes", "discovery"];

/// What of the kit makes something fail, and the parts that name it.
const MAKERS: [(&str, &[&str]); 4] = [
    ("FrozenThread", &["datapath", "proxy"]),
    ("Redis", &["registry", "discovery", "nodes"]),
    ("SmallDisk", &["agent", "registry", "events"]),
    ("Unanswered", &["configuration", "certificates"]),
];

/// What of the kit makes nothing fail that lasts: a clock that is set moves deadlines along, an agent that
/// is killed has no status.
const NEUTRAL: [&str; 43] = [
    "APP_MACS",
    "Agent",
    "Beyond",
    "Browser",
    "CLIENT_MAC",
    "Config",
    "Family",
    "Finished",
    "Keepalived",
    "Lab",
    "Lifetime",
    "NODE_BACKEND_MAC",
    "NODE_MAC",
    "Netns",
    "Process",
    "SMALL_MTU",
    "ServiceManager",
    "Tab",
    "Topology",
    "Tunnel",
    "V4",
    "V6",
    "Wire",
    "WrongClock",
    "allow_many_descriptors",
    "app_host",
    "binary",
    "bound",
    "certify",
    "certify_briefly",
    "certify_expired",
    "eventually",
    "finish",
    "finish_within",
    "frame",
    "http",
    "patient",
    "tear_down",
    "traffic",
    "trickle",
    "until",
    "verdict",
    "without_offloads",
];

/// Whoever gives the kit another way to make something fail says which part of `status` names it.
#[test]
fn whatever_the_kit_can_make_fail_has_a_part_that_names_it() {
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("kit/lib.rs");
    let text = fs::read_to_string(kit).unwrap();
    let mut shown = BTreeSet::new();
    for line in text.split(';') {
        let Some((_, line)) = line.rsplit_once("pub ") else {
            continue;
        };
        // What stands before `::` is the file that it is in.
        let names = match line.strip_prefix("use ") {
            Some(used) => used.split_once("::").map_or(used, |(_, names)| names),
            None => line.trim_start_matches("mod "),
        };
        let words = names.split(|c: char| !c.is_alphanumeric() && c != '_');
        let named = words.filter(|word| !word.is_empty());
        shown.extend(named.map(str::to_owned));
    }
    let makers = MAKERS.map(|(name, _)| name);
    let listed = NEUTRAL.into_iter().chain(makers).map(str::to_owned);
    assert_eq!(shown, listed.collect());
    let known: BTreeSet<&str> = FAULTS
        .iter()
        .map(|fault| fault.part)
        .chain(SHARED)
        .collect();
    for (maker, parts) in MAKERS {
        assert!(parts.iter().all(|part| known.contains(part)), "{maker}");
    }
}

#[test]
fn nodes_that_share_a_registry_name_what_is_away() {
    let lab = Lab::routed();
    let mut redis: Redis = redis_of(&lab);
    let one = other(&lab, &redis.config("one"), "one");
    let mut two = other(&lab, &redis.config("two"), "two");
    eventually(SOON, || part(&one, "nodes").1.contains("2 nodes"));
    // A drain is meant.
    one.ctl(&["node", "drain", "two"]).ok();
    eventually(SOON, || part(&one, "nodes").1.contains("drained: two"));
    assert!(part(&one, "nodes").0);
    one.ctl(&["node", "resume", "two"]).ok();
    two.kill();
    is_named(&one, "nodes", "away: two");
    two.restart();
    is_well(&one, "nodes");
    redis.kill();
    is_named(&one, "registry", "away for");
    is_named(&one, "discovery", "frozen");
    redis.restart();
    for part in ["registry", "discovery", "nodes"] {
        is_well(&one, part);
    }
}
