//! The agent dies, hangs or is replaced under load: no connection notices.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use kit::{Process, V4, traffic, until, verdict};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::scene::Scene;

const CONNECTIONS: usize = 200;

/// A scene under load: live connections and iperf3 through two ports.
struct Load {
    live: traffic::Live,
    iperf: Process,
    _server: Process,
    web: std::net::SocketAddr,
    scene: Scene,
}

impl Load {
    #[track_caller]
    fn new() -> Self {
        let scene = Scene::routed();
        let web = scene.port("web");
        let backend = std::net::SocketAddr::new(scene.lab.app(V4, 1), 5201);
        let mut server = scene.lab.apps[1].command("iperf3");
        server.args([
            "--server",
            "--one-off",
            "--forceflush",
            "--bind",
            &backend.ip().to_string(),
        ]);
        let server = Process::start(&mut server, scene.lab.folder(), "iperf3-server");
        until(Duration::from_secs(10), || {
            server.printed().contains("listening").then_some(())
        });
        let port = scene
            .agent
            .create(&["iperf", "--backend", &backend.to_string()]);
        let live = traffic::Live::open(&scene.lab.client, web, CONNECTIONS);
        let mut client = iperf_client(&scene, port);
        let iperf = Process::start(&mut client, scene.lab.folder(), "iperf3-client");
        Self {
            live,
            iperf,
            _server: server,
            web,
            scene,
        }
    }

    /// New connections succeed, and each of the old ones goes on.
    #[track_caller]
    fn is_served(&self) {
        let tally = traffic::connect(&self.scene.lab.client, self.web, 20);
        assert_eq!(
            (tally.of("app1"), tally.of("app2"), tally.errors.len()),
            (10, 10, 0),
            "{tally:?}"
        );
        self.live.progress();
    }

    /// Ends the load; nothing was lost.
    #[track_caller]
    fn finish(mut self) {
        let tally = self.live.finish();
        assert_eq!(tally.errors, Vec::<String>::new());
        assert_eq!(tally.of("app1") + tally.of("app2"), CONNECTIONS);
        assert_eq!(
            self.iperf.wait(Duration::from_secs(60)),
            0,
            "{}",
            self.iperf.printed()
        );
        let report: Value = serde_json::from_str(&self.iperf.printed()).unwrap();
        assert!(report["error"].is_null(), "{report}");
        assert!(
            report["end"]["sum_received"]["bytes"].as_u64().unwrap() > 0,
            "{report}"
        );
    }
}

/// Runs longer than the fault; paced, so that two processors are enough for all of it.
fn iperf_client(scene: &Scene, port: u16) -> Command {
    let mut client = scene.lab.client.command("iperf3");
    client.args([
        "--client",
        &scene.lab.public(V4).to_string(),
        "--port",
        &port.to_string(),
    ]);
    client.args(["--json", "--time", "10", "--bitrate", "200M"]);
    client
}

#[test]
fn a_killed_agent_loses_no_connection_and_its_successor_adopts_what_it_finds() {
    let mut load = Load::new();
    let links = links(&load.scene);
    let before = what_stands(&load.scene);
    load.scene.agent.kill();
    load.is_served();
    load.scene.agent.restart();
    load.is_served();
    assert_eq!(
        self::links(&load.scene),
        links,
        "the links are the same, by the kernel's ids"
    );
    assert_eq!(
        what_stands(&load.scene),
        before,
        "nothing that was right has changed"
    );
    load.finish();
}

#[test]
fn an_agent_that_stands_still_for_five_seconds_loses_no_connection() {
    let mut load = Load::new();
    load.scene.agent.process().signal(Signal::SIGSTOP);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        load.is_served();
    }
    load.scene.agent.process().signal(Signal::SIGCONT);
    load.scene.agent.wait_until_ready();
    load.is_served();
    load.finish();
}

#[test]
fn sigterm_ends_the_agent_within_five_seconds_and_leaves_the_datapath_running() {
    let mut load = Load::new();
    let begun = Instant::now();
    assert_eq!(load.scene.agent.stop(), 0, "{}", load.scene.agent.printed());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(load.scene.agent.ctl(&["status"]).code, 3);
    load.is_served();
    load.finish();
}

#[test]
fn twenty_agents_one_after_the_other_keep_the_same_links() {
    let mut scene = Scene::routed();
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 20);
    let links = links(&scene);
    for _ in 0..20 {
        scene.agent.kill();
        scene.agent.launch();
    }
    scene.agent.wait_until_ready();
    assert_eq!(self::links(&scene), links);
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

/// The kernel's ids of the links of both interfaces.
fn links(scene: &Scene) -> Vec<u32> {
    let pins = [scene.lab.client_side(), scene.lab.backend_side()];
    pins.map(|interface| verdict::link_ids(&scene.lab.link(interface)).0)
        .to_vec()
}

/// What the agent is to leave alone: its tables, but for what traffic moves.
fn what_stands(scene: &Scene) -> Vec<Value> {
    let config = scene.agent.config_file();
    let dump = |map: &str| {
        let words = [
            "datapath",
            "dump",
            map,
            "--config",
            config.to_str().unwrap(),
        ];
        scene.agent.ctl_json(&words)
    };
    [
        "addresses",
        "backends",
        "endpoints",
        "backend_sets",
        "frontends",
    ]
    .map(dump)
    .to_vec()
}
