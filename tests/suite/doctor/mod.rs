//! `doctor` against broken hosts: each fault is found by the check that is about it, with a fix; what can be
//! mended is; and a host that is well has none.

mod files;
mod network;
mod process;

use kit::{Agent, Config, Finished, Lab, binary, finish};
use serde_json::Value;

/// A host with a configuration, and no agent yet.
pub(crate) struct Ground {
    pub(crate) agent: Agent,
    pub(crate) lab: Lab,
}

impl Ground {
    /// With these lines of configuration.
    pub(crate) fn with(more: &str) -> Self {
        let lab = Lab::routed();
        let agent = Agent::configured(&lab, &Config::with(more));
        Self { agent, lab }
    }

    fn run(&self, check: &str, more: &[&str]) -> Finished {
        let mut command = self.lab.node.command(binary("harbor-ctl"));
        command.arg("--config").arg(self.agent.config_file());
        finish(
            command
                .args(["doctor", "-o", "json", "--only", check])
                .args(more),
        )
    }

    /// What a check finds: all states with their texts.
    #[track_caller]
    pub(crate) fn found(&self, check: &str) -> Vec<Value> {
        items(&self.run(check, &[]))
    }

    /// The check finds this, says what to do, and ends as the manual says.
    #[track_caller]
    pub(crate) fn finds(&self, check: &str, state: &str, words: &str) {
        let finished = self.run(check, &[]);
        let items = items(&finished);
        let is_it = |item: &&Value| {
            item["state"] == state && item["text"].as_str().unwrap().contains(words)
        };
        let found = items.iter().find(is_it);
        let found = found.unwrap_or_else(|| panic!("{check}: no {state} {words:?} in {items:#?}"));
        assert!(!found["why"].as_str().unwrap().is_empty());
        if state != "ok" && state != "skipped" {
            let fix = found["fix"].as_str().unwrap_or_default();
            assert!(!fix.is_empty(), "no fix: {found:#}");
        }
        let is_faulty = items.iter().any(|item| item["state"] == "fault");
        assert_eq!(finished.code, if is_faulty { 7 } else { 0 }, "{items:#?}");
    }

    /// `--fix` mends all that the check finds, and changes nothing when asked again.
    #[track_caller]
    pub(crate) fn mends(&self, check: &str) {
        let mended = items(&self.run(check, &["--fix"]));
        assert!(
            mended.iter().any(|item| item["mended"][0].is_string()),
            "{mended:#?}"
        );
        assert!(
            mended.iter().all(|item| item["state"] == "ok"),
            "{mended:#?}"
        );
        let again = items(&self.run(check, &["--fix"]));
        assert!(
            again.iter().all(|item| item["mended"].is_null()),
            "{again:#?}"
        );
    }

    #[track_caller]
    pub(crate) fn is_well(&self, check: &str) {
        self.finds(check, "ok", "");
    }
}

#[track_caller]
fn items(finished: &Finished) -> Vec<Value> {
    finished.json()["items"].as_array().unwrap().clone()
}

#[test]
fn a_node_that_serves_has_no_fault_and_every_check_is_made() {
    let scene = crate::scene::Scene::routed();
    scene.port("web");
    let finished = scene.agent.ctl(&[
        "--config",
        scene.agent.config_file().to_str().unwrap(),
        "doctor",
        "-o",
        "json",
    ]);
    let found = items(&finished);
    // The machine that runs this may have a clock that nobody keeps.
    let faults: Vec<&Value> = found
        .iter()
        .filter(|item| item["state"] == "fault")
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    assert_eq!(finished.code, 0);
    let listed = scene.agent.items(&["doctor", "--list"]);
    assert!(listed.len() >= 25, "{}", listed.len());
    for check in &listed {
        let is_made = found.iter().any(|item| item["check"] == check["check"]);
        assert!(is_made, "{check} was not made");
    }
    let said = scene.agent.ctl(&["doctor", "--only", "agent"]).stdout;
    assert!(
        said.contains("ok       agent") && said.contains("0 faults"),
        "{said}"
    );
    let wrong = scene.agent.ctl(&["doctor", "--only", "nothing"]);
    assert_eq!(wrong.code, 2, "{}", wrong.stderr);
    assert!(
        wrong.stderr.contains("checks are config, rights"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn an_agent_that_is_not_there_frozen_or_degraded_is_explained() {
    let mut ground = Ground::with("");
    ground.finds("agent", "warning", "no agent runs");
    ground.finds("status", "skipped", "no agent");
    ground.agent.restart();
    ground.is_well("agent");
    ground.is_well("status");
    ground.agent.create(&["lonely"]);
    // What status shows, doctor explains: the same words, with the fix.
    ground.finds("status", "fault", "Ports: 1 of 5001 used;");
    let told = ground.found("status");
    assert_eq!(told[0]["fix"], "harbor-ctl ports show lonely");
    let unreachable = ["backends", "add", "lonely", "10.99.99.99:80"];
    ground.agent.ctl(&unreachable).ok();
    ground.lab.node.ip("route add unreachable 10.99.99.99/32");
    ground.finds("routes", "fault", "no route to the backend 10.99.99.99");
    ground
        .lab
        .node
        .ip("route del unreachable 10.99.99.99/32\nroute add 10.99.99.99/32 via 10.77.2.11");
    ground.is_well("routes");
    ground.agent.freeze();
    let mut frozen = ground.lab.node.command(binary("harbor-ctl"));
    frozen.arg("--config").arg(ground.agent.config_file());
    frozen.args(["doctor", "--only", "agent", "--timeout", "1s", "-o", "json"]);
    let frozen = finish(&mut frozen);
    assert_eq!(frozen.code, 7);
    assert_eq!(items(&frozen)[0]["state"], "fault");
    ground.agent.kill();
}
