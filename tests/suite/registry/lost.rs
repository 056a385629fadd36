//! A node's own registry is lost, or is not what was written: no port leaves the kernel for it, and
//! nothing is changed before somebody has decided.

use std::{
    fs,
    path::{Path, PathBuf},
};

use kit::{
    Agent, Config, Lab, SmallDisk, eventually,
    traffic::{self, Live},
};
use serde_json::Value;

use super::redis_of;
use crate::scene::Scene;

pub(super) fn state(agent: &Agent) -> PathBuf {
    agent.folder().join("state")
}

pub(super) fn registry(agent: &Agent) -> Value {
    agent.ctl_json_whatever(&["status"])["registry"].clone()
}

/// Two ports with live connections, and an agent that is not running.
pub(super) struct Loss {
    pub(super) live: Live,
    pub(super) to: [std::net::SocketAddr; 2],
    pub(super) before: Value,
    /// What was mounted to lose something.
    disk: Option<SmallDisk>,
    pub(super) scene: Scene,
}

impl Loss {
    #[track_caller]
    pub(super) fn new() -> Self {
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
    pub(super) fn is_served(&self) {
        for to in self.to {
            let tally = traffic::connect(&self.scene.lab.client, to, 10);
            let both = (tally.of("app1"), tally.of("app2"), tally.errors.len());
            assert_eq!(both, (5, 5, 0), "{tally:?}");
        }
        self.live.progress();
    }

    /// Both ports are served, it is said that the registry is empty, and nothing can be changed.
    #[track_caller]
    pub(super) fn is_held(&self, known_to: &str) {
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

pub(super) fn services(agent: &Agent) -> Value {
    agent.ctl_json(&["state", "export"])["services"].clone()
}

pub(super) fn remove(path: &Path) {
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

/// Two ports of yesterday and one of today, with a live connection each, and an agent that is not running.
pub(super) struct Older {
    pub(super) live: [Live; 2],
    today: std::net::SocketAddr,
    /// Of the port that was deleted.
    gone: std::net::SocketAddr,
    pub(super) now: Value,
    pub(super) yesterday: PathBuf,
    pub(super) scene: Scene,
}

impl Older {
    #[track_caller]
    pub(super) fn new() -> Self {
        let mut scene = Scene::routed();
        let web = scene.port("web");
        let gone = scene.port("both-sip");
        assert_eq!(scene.agent.stop(), 0);
        let yesterday = scene.lab.folder().join("yesterday");
        copy_files(&state(&scene.agent), &yesterday);
        scene.agent.restart();
        // A port of yesterday that was deleted since, and one that was made.
        scene
            .agent
            .ctl(&["ports", "delete", "both-sip", "--yes"])
            .ok();
        let app = scene.app(0).to_string();
        let today = scene.agent.create(&["today", "--backend", &app]);
        let today = scene.at(today);
        let live = [web, today].map(|to| Live::open(&scene.lab.client, to, 5));
        let now = services(&scene.agent);
        assert_eq!(scene.agent.stop(), 0);
        Self {
            live,
            today,
            gone,
            now,
            yesterday,
            scene,
        }
    }

    #[track_caller]
    pub(super) fn is_served(&self) {
        let tally = traffic::connect(&self.scene.lab.client, self.today, 10);
        assert_eq!((tally.of("app1"), tally.errors.len()), (10, 0), "{tally:?}");
        self.live.iter().for_each(Live::progress);
    }

    /// What was put back misses a port that is served: that is said, and nothing is changed.
    #[track_caller]
    pub(super) fn is_held(&self) {
        self.is_served();
        let tally = traffic::connect(&self.scene.lab.client, self.gone, 2);
        assert_eq!(
            tally.errors.len(),
            2,
            "a deleted port is served again: {tally:?}"
        );
        let agent = &self.scene.agent;
        let told = registry(agent);
        let text = told["text"].as_str().unwrap();
        let wanted = "older than what is forwarded: 1 port is in the kernel and not in it";
        assert_eq!(told["state"], "degraded", "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(told["fix"].as_str().unwrap().contains("state confirm"));
        assert_eq!(agent.ctl(&["status"]).code, 7);
        let refused = agent.ctl(&["ports", "create", "more"]);
        assert_eq!(refused.code, 7, "{}", refused.stderr);
        assert!(refused.stderr.contains(wanted), "{}", refused.stderr);
        let check = agent.ctl(&["state", "check"]);
        let named = format!("port {}/tcp", self.today.port());
        assert!(check.stdout.contains(&named), "{}", check.stdout);
        let events = agent.items(&["events"]);
        assert!(events.iter().any(|one| one["kind"] == "registry_failed"));
    }
}

pub(super) fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["harbor.redb", "journal.redb"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn a_state_of_yesterday_takes_no_port_of_today_until_that_is_decided() {
    let mut older = Older::new();
    let folder = state(&older.scene.agent);
    let newest = older.scene.lab.folder().join("newest");
    copy_files(&folder, &newest);
    copy_files(&older.yesterday, &folder);
    older.scene.agent.restart();
    older.is_held();
    // It is not forgotten that nobody has decided.
    older.scene.agent.kill();
    older.scene.agent.restart();
    older.is_held();
    // The newest files are found again.
    assert_eq!(older.scene.agent.stop(), 0);
    copy_files(&newest, &folder);
    older.scene.agent.restart();
    assert_eq!(services(&older.scene.agent), older.now);
    assert_eq!(registry(&older.scene.agent)["state"], "ok");
    older.scene.agent.create(&["more"]);
    older.is_served();
    // Or yesterday is what is wanted.
    assert_eq!(older.scene.agent.stop(), 0);
    copy_files(&older.yesterday, &folder);
    older.scene.agent.restart();
    let agent = &older.scene.agent;
    let told = agent.ctl(&["state", "confirm", "--yes"]).ok().stdout;
    assert_eq!(told, "2 ports are gone\n");
    assert_eq!(registry(agent)["state"], "ok");
    assert_eq!(agent.ctl(&["state", "check"]).code, 0);
    let tally = traffic::connect(&older.scene.lab.client, older.today, 5);
    assert_eq!(tally.of("app1"), 0, "{tally:?}");
    agent.ctl(&["ports", "show", "both-sip"]).ok();
    agent.create(&["another"]);
    let [web, _] = older.live;
    assert_eq!(web.finish().errors, [""; 0]);
}

#[test]
fn a_registry_of_yesterday_beside_its_journal_is_put_right_and_says_so() {
    let mut older = Older::new();
    let file = "harbor.redb";
    fs::copy(
        older.yesterday.join(file),
        state(&older.scene.agent).join(file),
    )
    .unwrap();
    older.scene.agent.restart();
    older.is_served();
    let agent = &older.scene.agent;
    assert_eq!(services(agent), older.now);
    let wanted = "put right from it: 1 port put back, 1 taken out";
    let text = registry(agent)["text"].to_string();
    assert!(text.contains(wanted), "{text}");
    let told = agent.items(&["events"]);
    let says = |one: &Value| one["text"].as_str().unwrap_or_default().contains(wanted);
    assert!(told.iter().any(says), "{told:?}");
    agent.create(&["more"]);
    for live in older.live {
        assert_eq!(live.finish().errors, [""; 0]);
    }
}

/// What the kernel has still and the registry has given up rests.
#[test]
fn a_port_that_was_deleted_as_the_agent_died_is_no_loss() {
    let mut scene = Scene::routed();
    let number = scene.port("web").port().to_string();
    scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    assert_eq!(scene.agent.stop(), 0);
    let (folder, without) = (state(&scene.agent), scene.lab.folder().join("without"));
    copy_files(&folder, &without);
    scene.agent.restart();
    scene.agent.create(&["other", "--port", &number]);
    assert_eq!(scene.agent.stop(), 0);
    copy_files(&without, &folder);
    scene.agent.restart();
    assert_eq!(registry(&scene.agent)["state"], "ok");
    scene.agent.create(&["more"]);
}

/// The journal of the time before is another registry's.
#[test]
fn what_a_node_brings_back_from_a_shared_registry_is_not_what_it_took_along() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let mut scene = Scene::on(lab, &Config::default());
    let before = ["one", "two", "three", "four"];
    for name in before {
        scene.agent.create(&[name]);
    }
    let move_and_restart = |scene: &mut Scene, words: &[&str]| {
        scene.agent.ctl(&[&["node"], words].concat()).ok();
        assert_eq!(scene.agent.stop(), 0);
        scene.agent.restart();
    };
    move_and_restart(&mut scene, &["attach", &redis.url(), "--import"]);
    // A registry that is new lets every node put its ports back first.
    let is_open = || scene.agent.ctl(&["ports", "create", "late"]).code == 0;
    eventually(std::time::Duration::from_secs(20), is_open);
    let web = scene.port("web");
    for name in before.into_iter().chain(["late"]) {
        scene.agent.ctl(&["ports", "delete", name, "--yes"]).ok();
    }
    move_and_restart(&mut scene, &["detach", "--keep"]);
    let names = scene.agent.ctl(&["ports", "list", "-o", "name"]).ok();
    assert_eq!(names.stdout, "web\n");
    assert_eq!(registry(&scene.agent)["state"], "ok");
    let tally = traffic::connect(&scene.lab.client, web, 10);
    assert_eq!(tally.errors, [""; 0]);
}
