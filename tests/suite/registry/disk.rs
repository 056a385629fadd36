//! The disk under a node's own registry refuses: what is forwarded stays, what must end ends, and all
//! is well again when the disk is.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::{
    Agent, Config, Lab, SmallDisk, V4,
    app_host::{self, Instance},
    eventually,
    http::Http,
    traffic::{self, Live},
};
use serde_json::Value;

use super::{LONGEST, is_healed, is_noticed};
use crate::scene::Scene;

/// What follows at once is waited for so long.
const SAID: Duration = Duration::from_secs(10);
const BYTES: u64 = 8 * 1024 * 1024;

fn registry(agent: &Agent) -> Value {
    agent.ctl_json_whatever(&["status"])["registry"].clone()
}

/// How the record of events is.
fn events(agent: &Agent) -> Value {
    agent.ctl_json_whatever(&["status"])["events"]["state"].clone()
}

/// Creates ports until one is refused, which is answered with its words.
#[track_caller]
fn create_until_refused(agent: &Agent) -> String {
    for number in 0..300 {
        let created = agent.ctl(&["ports", "create", &format!("more-{number}")]);
        if created.code != 0 {
            assert_eq!(created.code, 7, "{}", created.stderr);
            return created.stderr;
        }
    }
    panic!("nothing was refused")
}

/// By HTTP and by exit code, with the reason: ports are forwarded all the same.
#[track_caller]
fn is_not_ready(agent: &Agent) {
    let ready = Http::new(&agent.socket())
        .ask("GET /readyz", "", b"")
        .unwrap();
    assert_eq!(ready.0, 503);
    let why = String::from_utf8(ready.1).unwrap();
    let wanted = "ports are forwarded, but no change is taken: ";
    assert!(why.contains(wanted) && why.contains("No space"), "{why}");
    let asked = agent.ctl(&["status", "--ready"]);
    assert_eq!(asked.code, 7);
    let wanted = format!("not ready: {wanted}");
    assert!(asked.stdout.starts_with(&wanted), "{}", asked.stdout);
}

#[test]
fn a_full_disk_is_said_ends_leases_all_the_same_and_heals_by_itself() {
    let lab = Lab::routed();
    let config = Config::with(&app_host::reachable(&lab, "3s"));
    let mut agent = Agent::configured(&lab, &config);
    let disk = SmallDisk::mount(&agent.folder().join("state"), BYTES);
    agent.launch();
    agent.wait_until_ready();
    let to = SocketAddr::new(lab.public(V4), agent.create(&["web"]));
    let other = agent.create(&["other", "--backend", &format!("{}:9001", lab.app(V4, 1))]);
    let other = SocketAddr::new(lab.public(V4), other);
    let app = SocketAddr::new(lab.app(V4, 1), 9001);
    let _app = traffic::serve(&lab.apps[1], lab.folder(), "app2", &[app]);
    let mut one = Instance::start(&lab, 0, ("web", "one"), 4_100, &[]);
    let count = |agent: &Agent| agent.items(&["backends", "list", "web"]).len();
    eventually(Duration::from_secs(10), || count(&agent) == 1);
    let live = Live::open(&lab.client, other, 20);

    disk.fill();
    let refused = create_until_refused(&agent);
    assert!(refused.contains("harbor.redb"), "{refused}");
    let told = is_noticed(&agent, "a full disk", |row| row["state"] == "failed");
    let text = told["text"].as_str().unwrap();
    assert!(text.contains("No space left"), "{text}");
    assert!(told["fix"].is_string());
    is_not_ready(&agent);
    let has = |kind: &str| {
        let events = agent.items(&["events"]);
        events.iter().any(|event| event["kind"] == kind)
    };
    eventually(SAID, || has("registry_failed"));
    // The last page of the record takes some more, and the registry may have given room back.
    eventually(Duration::from_secs(30), || {
        disk.fill();
        assert_eq!(agent.ctl(&["ports", "create", "refused"]).code, 7);
        events(&agent) == "degraded"
    });

    // The address of a dead instance is somebody else's soon.
    one.cut();
    let stranger = traffic::serve(&lab.apps[0], lab.folder(), "stranger", &[one.address]);
    eventually(Duration::from_secs(3 + 1 + 5), || count(&agent) == 0);
    let tally = traffic::connect(&lab.client, to, 20);
    assert_eq!(tally.of("stranger"), 0, "{tally:?}");
    assert_eq!(traffic::connect(&lab.client, other, 20).of("app2"), 20);
    drop(stranger);

    disk.free();
    has_room_again(&agent);
    agent.create(&["after"]);
    eventually(SAID, || has("registry_back"));
    assert_eq!(agent.ctl(&["state", "check"]).code, 0);
    live.progress();
    assert_eq!(events(&agent), "ok");
    let told = agent.items(&["events"]);
    // The records have followed.
    agent.kill();
    agent.restart();
    assert_eq!(count(&agent), 0);
    assert_eq!(agent.items(&["events"])[..told.len()], told);
    live.progress();
    assert_eq!(live.finish().errors, [""; 0]);
}

/// Waits until the registry is well. A port whose instance was lost is degraded, so the exit code stays.
#[track_caller]
fn has_room_again(agent: &Agent) {
    let begun = Instant::now();
    eventually(LONGEST, || registry(agent)["state"] == "ok");
    println!(
        "a full disk: well {:.2?} after it had room",
        begun.elapsed()
    );
}

#[test]
fn an_agent_starts_on_a_full_disk_with_what_is_there() {
    let lab = Lab::routed();
    let mut agent = Agent::configured(&lab, &Config::default());
    let disk = SmallDisk::mount(&agent.folder().join("state"), BYTES);
    agent.launch();
    agent.wait_until_ready();
    agent.create(&["web"]);
    assert_eq!(agent.stop(), 0);
    disk.fill();
    agent.restart();
    assert_eq!(agent.items(&["ports", "list"]).len(), 1);
    disk.free();
    eventually(LONGEST, || {
        agent.ctl(&["ports", "create", "after"]).code == 0
    });
}

#[test]
fn a_state_folder_that_is_moved_under_a_running_agent_is_missed_until_it_is_back() {
    let scene = Scene::routed();
    let live = Live::open(&scene.lab.client, scene.port("web"), 10);
    let state = scene.agent.folder().join("state");
    let aside = scene.agent.folder().join("aside");
    fs::rename(&state, &aside).unwrap();
    is_failed(&scene.agent, "a state folder that was moved");
    is_served(&scene);
    fs::rename(&aside, &state).unwrap();
    is_healed(&scene.agent, "a state folder that was moved");
    scene.agent.create(&["after"]);
    assert_eq!(events(&scene.agent), "ok");
    live.progress();
    assert_eq!(live.finish().errors, [""; 0]);
}

/// It is said, by the exit code too, and nothing is changed.
#[track_caller]
fn is_failed(agent: &Agent, fault: &str) {
    is_noticed(agent, fault, |row| row["state"] == "failed");
    let refused = agent.ctl(&["ports", "create", "more"]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
}

/// New connections to the port called web reach both apps.
#[track_caller]
fn is_served(scene: &Scene) {
    let number = scene.agent.ctl_json(&["ports", "show", "web"])["port"].as_u64();
    let to = scene.at(u16::try_from(number.unwrap()).unwrap());
    let tally = traffic::connect(&scene.lab.client, to, 10);
    let seen = (tally.of("app1"), tally.of("app2"), tally.errors.len());
    assert_eq!(seen, (5, 5, 0), "{tally:?}");
}

fn cut(path: &std::path::Path, length: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn a_registry_that_is_cut_under_a_running_agent_is_named_and_costs_no_connection_and_no_port() {
    for length in [0, 10_000] {
        let mut scene = Scene::routed();
        let live = Live::open(&scene.lab.client, scene.port("web"), 10);
        scene.port("api");
        let before = scene.agent.ctl_json(&["state", "export"])["services"].clone();
        let state = scene.agent.folder().join("state");
        let file = state.join("harbor.redb");
        cut(&file, length);
        is_failed(&scene.agent, &format!("harbor.redb cut to {length}"));
        eventually(SAID, || {
            let text = registry(&scene.agent)["text"].to_string();
            text.contains("harbor.redb") && text.contains("restart the agent")
        });
        is_served(&scene);
        // As the fix says: the agent names the file, and serves what its journal holds without it.
        assert_eq!(scene.agent.stop(), 0);
        // The library may have written to the end of what it knew when it closed the file.
        if fs::metadata(&file).unwrap().len() > 0 {
            scene.agent.launch();
            assert_eq!(
                scene.agent.wait_until_ended(),
                5,
                "{}",
                scene.agent.printed()
            );
            assert!(scene.agent.printed().contains("is spoilt"));
            fs::rename(&file, state.join("harbor.redb.spoilt")).unwrap();
        }
        scene.agent.restart();
        assert!(
            registry(&scene.agent)["text"]
                .to_string()
                .contains("2 ports are in the kernel")
        );
        let document = state.join("state.json");
        fs::write(&document, scene.agent.ctl(&["state", "export"]).ok().stdout).unwrap();
        scene
            .agent
            .ctl(&["state", "import", document.to_str().unwrap()])
            .ok();
        assert_eq!(
            scene.agent.ctl_json(&["state", "export"])["services"],
            before
        );
        assert_eq!(scene.agent.ctl(&["state", "check"]).code, 0);
        is_served(&scene);
        live.progress();
        assert_eq!(live.finish().errors, [""; 0]);
    }
}

#[test]
fn a_journal_that_is_cut_under_a_running_agent_is_written_anew_by_itself() {
    let mut scene = Scene::routed();
    let live = Live::open(&scene.lab.client, scene.port("web"), 10);
    let state = scene.agent.folder().join("state");
    for length in [0, 10_000] {
        cut(&state.join("journal.redb"), length);
        let fault = format!("journal.redb cut to {length}");
        is_noticed(&scene.agent, &fault, |row| {
            row["text"].to_string().contains("journal")
        });
        is_healed(&scene.agent, &fault);
        is_served(&scene);
    }
    // It holds everything again: it is all that is left of the registry.
    assert_eq!(scene.agent.stop(), 0);
    fs::remove_file(state.join("harbor.redb")).unwrap();
    scene.agent.restart();
    assert!(
        registry(&scene.agent)["text"]
            .to_string()
            .contains("1 port is in the kernel")
    );
    assert_eq!(scene.agent.items(&["backends", "list", "web"]).len(), 2);
    live.progress();
    assert_eq!(live.finish().errors, [""; 0]);
}

/// Whoever looks every second sees nothing of that; the record does.
#[test]
fn a_failure_that_is_over_at_once_is_told_all_the_same() {
    let scene = Scene::routed();
    let agent = &scene.agent;
    let file = agent.folder().join("state/harbor.redb");
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside).unwrap();
    let refused = agent.ctl(&["ports", "create", "web"]);
    fs::rename(&aside, &file).unwrap();
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    let told = |kind: &str| agent.items(&["events", "--kind", kind]);
    eventually(SAID, || !told("registry_back").is_empty());
    let failed = told("registry_failed");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(
        failed[0]["text"].to_string().contains("the file is gone"),
        "{failed:?}"
    );
    eventually(LONGEST, || agent.ctl(&["ports", "create", "web"]).code == 0);
}
