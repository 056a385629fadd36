//! A node's own registry is lost, or is not what was written: no port leaves the kernel for it, and
//! nothing is changed before somebody has decided.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kit::{
    Agent, SmallDisk, eventually,
    traffic::{self, Live},
};
use serde_json::Value;

use crate::scene::Scene;

fn state(agent: &Agent) -> PathBuf {
    agent.folder().join("state")
}

fn registry(agent: &Agent) -> Value {
    agent.ctl_json_whatever(&["status"])["registry"].clone()
}

/// Two ports with live connections, and an agent that is not running.
struct Loss {
    live: Live,
    to: [std::net::SocketAddr; 2],
    before: Value,
    /// What was mounted to lose something.
    disk: Option<SmallDisk>,
    scene: Scene,
}

impl Loss {
    #[track_caller]
    fn new() -> Self {
        let mut scene = Scene::routed();
        let to = [scene.port("web"), scene.port("both-sip")];
        let before = services(&scene.agent);
        let live = Live::open(&scene.lab.client, to[0], 10);
        assert_eq!(scene.agent.stop(), 0);
        Self {
            live,
            to,
            before,
            disk: None,
            scene,
        }
    }

    #[track_caller]
    fn is_served(&self) {
        for to in self.to {
            let tally = traffic::connect(&self.scene.lab.client, to, 10);
            let both = (tally.of("app1"), tally.of("app2"), tally.errors.len());
            assert_eq!(both, (5, 5, 0), "{tally:?}");
        }
        self.live.progress();
    }

    /// Both ports are served, it is said that the registry is empty, and nothing can be changed.
    #[track_caller]
    fn is_held(&self, known_to: &str) {
        self.is_served();
        let agent = &self.scene.agent;
        let told = registry(agent);
        let text = told["text"].as_str().unwrap();
        let wanted = format!("the registry is empty, 2 ports are in {known_to}");
        assert_eq!(told["state"], "degraded", "{text}");
        assert!(text.contains(&wanted), "{text}");
        assert!(told["fix"].as_str().unwrap().contains("state confirm"));
        let refused = agent.ctl(&["ports", "create", "more"]);
        assert_eq!(refused.code, 7, "{}", refused.stderr);
        assert!(refused.stderr.contains(&wanted), "{}", refused.stderr);
        let events = agent.items(&["events"]);
        assert!(events.iter().any(|one| one["kind"] == "registry_failed"));
    }
}

fn services(agent: &Agent) -> Value {
    agent.ctl_json(&["state", "export"])["services"].clone()
}

fn remove(path: &Path) {
    fs::remove_file(path).unwrap();
}

#[test]
fn a_file_that_is_gone_or_empty_takes_no_port_and_an_import_of_the_journals_puts_it_back() {
    let ways: [fn(&Path); 2] = [remove, |path| fs::write(path, "").unwrap()];
    for lose in ways {
        let mut loss = Loss::new();
        lose(&state(&loss.scene.agent).join("harbor.redb"));
        loss.scene.agent.restart();
        loss.is_held("the kernel");
        assert_eq!(services(&loss.scene.agent), loss.before);
        // It is not forgotten that nobody has decided.
        loss.scene.agent.kill();
        loss.scene.agent.restart();
        loss.is_held("the kernel");

        let agent = &loss.scene.agent;
        let file = loss.scene.lab.folder().join("state.json");
        fs::write(&file, agent.ctl(&["state", "export"]).ok().stdout).unwrap();
        agent.ctl(&["state", "import", file.to_str().unwrap()]).ok();
        assert_eq!(services(agent), loss.before);
        assert_eq!(registry(agent)["state"], "ok");
        assert_eq!(agent.ctl(&["state", "check"]).code, 0);
        agent.create(&["more"]);
        loss.is_served();
        assert_eq!(loss.live.finish().errors, [""; 0]);
    }
}

#[test]
fn a_state_folder_that_is_not_mounted_takes_no_port_until_it_is_back() {
    let mut loss = Loss::new();
    let folder = state(&loss.scene.agent);
    loss.disk = Some(SmallDisk::mount(&folder, 8 * 1024 * 1024));
    loss.scene.agent.restart();
    loss.is_held("the kernel");
    loss.scene.agent.kill();
    loss.scene.agent.restart();
    loss.is_held("the kernel");

    assert_eq!(loss.scene.agent.stop(), 0);
    loss.disk = None;
    loss.scene.agent.restart();
    assert_eq!(services(&loss.scene.agent), loss.before);
    assert_eq!(loss.scene.agent.ctl(&["status"]).code, 0);
    loss.is_served();
    assert_eq!(loss.live.finish().errors, [""; 0]);
}

#[test]
fn ports_that_are_not_in_an_emptied_registry_go_when_that_is_confirmed() {
    let mut loss = Loss::new();
    fs::rename(
        state(&loss.scene.agent),
        loss.scene.lab.folder().join("aside"),
    )
    .unwrap();
    loss.scene.agent.restart();
    loss.is_held("the kernel");
    let agent = &loss.scene.agent;
    let told = agent.ctl(&["state", "confirm", "--yes"]).ok().stdout;
    assert_eq!(told, "2 ports are gone\n");
    assert_eq!(registry(agent)["state"], "ok");
    let tally = traffic::connect(&loss.scene.lab.client, loss.to[0], 5);
    assert_eq!(tally.of("app1") + tally.of("app2"), 0, "{tally:?}");
    agent.create(&["more"]);
    loss.scene.agent.kill();
    loss.scene.agent.restart();
    assert_eq!(loss.scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_first_start_is_no_loss() {
    let scene = Scene::routed();
    assert_eq!(registry(&scene.agent)["state"], "ok");
    scene.port("web");
}

#[test]
fn a_spoilt_file_ends_the_agent_with_its_name_the_last_copy_and_a_code_that_is_not_restarted() {
    let mut loss = Loss::new();
    loss.scene.agent.restart();
    let backup = loss.scene.agent.ctl_json(&["state", "backup"])["file"].clone();
    assert_eq!(loss.scene.agent.stop(), 0);
    let file = state(&loss.scene.agent).join("harbor.redb");
    let mut bytes = fs::read(&file).unwrap();
    for byte in bytes.iter_mut().skip(4096).step_by(97) {
        *byte ^= 0x55;
    }
    fs::write(&file, bytes).unwrap();
    loss.scene.agent.launch();
    assert_eq!(loss.scene.agent.wait_until_ended(), 5);
    let printed = loss.scene.agent.printed();
    assert!(printed.contains("harbor.redb is spoilt"), "{printed}");
    assert!(printed.contains(backup.as_str().unwrap()), "{printed}");
    assert!(!printed.contains("panicked"), "{printed}");
    loss.is_served();
    // As the fix says.
    fs::rename(&file, file.with_extension("redb.spoilt")).unwrap();
    fs::copy(backup.as_str().unwrap(), &file).unwrap();
    loss.scene.agent.restart();
    assert_eq!(services(&loss.scene.agent), loss.before);
    eventually(std::time::Duration::from_secs(5), || {
        registry(&loss.scene.agent)["state"] == "ok"
    });
    loss.is_served();
    assert_eq!(loss.live.finish().errors, [""; 0]);
}
