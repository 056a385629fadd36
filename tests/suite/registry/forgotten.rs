//! A Redis that was emptied together with the node's journal: the kernel alone knows that there were ports.

use std::fs;

use kit::{Agent, eventually, traffic::Live};
use serde_json::Value;

use super::{LONGEST, Shared};

fn registry(agent: &Agent) -> Value {
    agent.ctl_json_whatever(&["status"])["registry"].clone()
}

/// A node with a port and a live connection, whose agent starts with nothing to remember.
fn forgotten() -> (Shared, Live, Value, u16) {
    let Shared { mut scene, redis } = Shared::start();
    let web = scene.port("web");
    let live = Live::open(&scene.lab.client, web, 10);
    let before = scene.agent.ctl_json(&["state", "export"]);
    assert_eq!(scene.agent.stop(), 0);
    redis.say(&["flushall"]);
    fs::remove_file(scene.agent.folder().join("state/journal-harbor.redb")).unwrap();
    scene.agent.restart();
    (Shared { scene, redis }, live, before, web.port())
}

/// It is served, said, and nothing can be changed.
#[track_caller]
fn is_held(agent: &Agent, live: &Live, number: u16) {
    live.progress();
    let told = registry(agent);
    let text = told["text"].to_string();
    assert_eq!(told["state"], "degraded", "{text}");
    assert!(text.contains("is empty, 1 port is in the kernel"), "{text}");
    assert!(told["fix"].to_string().contains("Redis"), "{told}");
    let refused = agent.ctl(&["ports", "create", "more"]);
    assert_eq!(refused.code, 7, "{}", refused.stderr);
    let listed = agent.ctl(&["ports", "list"]).ok();
    assert!(
        listed.stderr.contains(&number.to_string()),
        "{}",
        listed.stderr
    );
    assert_eq!(agent.ctl(&["state", "export"]).code, 7);
}

#[test]
fn ports_of_an_emptied_redis_stay_until_an_import_names_them() {
    let (
        Shared {
            mut scene,
            redis: _redis,
        },
        live,
        before,
        number,
    ) = forgotten();
    is_held(&scene.agent, &live, number);
    // It is not forgotten that nobody has decided.
    scene.agent.kill();
    scene.agent.restart();
    is_held(&scene.agent, &live, number);
    let agent = &scene.agent;
    let file = scene.lab.folder().join("state.json");
    fs::write(&file, before.to_string()).unwrap();
    agent.ctl(&["state", "import", file.to_str().unwrap()]).ok();
    eventually(LONGEST, || registry(agent)["state"] == "ok");
    agent.create(&["more"]);
    eventually(LONGEST, || agent.ctl(&["state", "check"]).code == 0);
    live.progress();
    assert_eq!(live.finish().errors, [""; 0]);
    // Decided once is decided.
    scene.agent.kill();
    scene.agent.restart();
    eventually(LONGEST, || registry(&scene.agent)["state"] == "ok");
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 2);
}

#[test]
fn ports_of_an_emptied_redis_go_when_that_is_confirmed() {
    let (
        Shared {
            scene,
            redis: _redis,
        },
        live,
        _,
        number,
    ) = forgotten();
    let agent = &scene.agent;
    is_held(agent, &live, number);
    let told = agent.ctl(&["state", "confirm", "--yes"]).ok().stdout;
    assert_eq!(told, "1 port is gone\n");
    eventually(LONGEST, || registry(agent)["state"] == "ok");
    eventually(LONGEST, || agent.ctl(&["state", "check"]).code == 0);
    agent.create(&["web", "--port", &number.to_string()]);
}
