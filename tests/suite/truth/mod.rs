//! `status` names the part of every fault that the suite can make, and is well again when the cause is
//! gone. A part that no fault is made of fails the test.

mod coverage;
mod faults;
mod shown;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use kit::{Agent, Lab, Redis, eventually};
use serde_json::Value;

use crate::registry::{other, redis_of};
use faults::{FAULTS, node, password};

/// Listeners that do not run while nobody can read their secret.
const APIS: [&str; 3] = ["control", "console", "gateway"];

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
    for api in APIS {
        is_named(&node.scene.agent, api, "does not run");
    }
    let file = password(&node.scene.lab);
    fs::write(&file, "a-password-of-platforms\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for api in APIS {
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
    assert_eq!(parts(&node.scene.agent), coverage::rows());
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
