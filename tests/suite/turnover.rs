//! Flows that come and go: the table drains, with the agent and without it, and no source port is lost.

use std::time::Duration;

use kit::{Config, Lab, eventually, traffic};

use crate::scene::{FAMILIES, Scene};

const SHORT: &str = "[timeouts]\nopening = \"2s\"\ntcp_closed = \"2s\"\ntcp_reset = \"2s\"\n\
                     udp_single = \"2s\"\nudp_stream = \"2s\"\n";

/// Connections through one port, and how many at a time.
const CONNECTIONS: usize = 50_000;
const ROUND: usize = 1_000;

#[test]
fn fifty_thousand_connections_leave_an_empty_table() {
    let scene = Scene::on(Lab::routed(), &Config::with(SHORT));
    let client = &scene.lab.client;
    // The client must not run out of ports of its own; reusing them is part of the exercise.
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let web = scene.port("web");
    for _ in 0..CONNECTIONS / ROUND {
        let tally = traffic::connect(client, web, ROUND);
        let served = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(served, (ROUND / 2, ROUND / 2, 0), "{tally:?}");
    }
    eventually(Duration::from_secs(20), || {
        scene.agent.items(&["flows", "list"]).is_empty()
    });
    eventually(Duration::from_secs(5), || {
        scene.agent.ctl_json(&["ports", "show", "web"])["flows"] == 0
    });
    let config = scene.agent.config_file();
    let config = ["--config", config.to_str().unwrap()];
    for (map, counted) in [("frontend_state", "web"), ("backend_state", "each app")] {
        let rows = scene
            .agent
            .items(&[&["datapath", "dump", map], &config[..]].concat());
        let flows = rows
            .iter()
            .map(|row| row["value"]["flows"].as_u64().unwrap());
        assert_eq!(flows.sum::<u64>(), 0, "{counted}: {rows:?}");
    }
}

#[test]
fn the_table_drains_without_the_agent_quiet_or_busy() {
    for family in FAMILIES {
        let mut scene = Scene::on(Lab::routed(), &Config::with(SHORT)).of(family);
        let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
        let live = traffic::Live::open(&scene.lab.client, web, 5);
        scene.agent.kill();
        let tally = traffic::connect(&scene.lab.client, web, 200);
        assert_eq!(tally.errors, Vec::<String>::new());
        assert_eq!(traffic::ask(&scene.lab.client, dns, 100).errors.len(), 0);
        let config = scene.agent.config_file();
        let map = if family == kit::V4 { "flows" } else { "flows6" };
        let dump = [
            "datapath",
            "dump",
            map,
            "--config",
            config.to_str().unwrap(),
        ];
        let entries = || scene.agent.items(&dump).len();
        assert!(entries() > 100, "{} entries", entries());
        // The agent's word holds for five seconds; then the kernel's timer sweeps.
        eventually(Duration::from_secs(20), || entries() == 10);
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
        eventually(Duration::from_secs(20), || entries() == 0);
        scene.agent.restart();
        assert_eq!(traffic::connect(&scene.lab.client, web, 10).errors.len(), 0);
    }
}
