//! Long runs, out of CI: `cargo xtask soak NAME`. `HARBOR_SOAK_SECONDS` says how long.

use std::{
    env,
    time::{Duration, Instant},
};

use kit::{Config, Lab, eventually, traffic};

use crate::scene::Scene;

fn duration() -> Duration {
    let seconds = env::var("HARBOR_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(600))
}

#[test]
#[ignore = "runs for minutes"]
fn churn_drains_to_nothing() {
    let timeouts = "[timeouts]\ntcp_closed = \"5s\"\nudp_single = \"5s\"\nudp_stream = \"5s\"\n";
    let scene = Scene::on(Lab::routed(), &Config::with(timeouts));
    // The client must not run out of ports of its own; reusing them is part of the exercise.
    let client = &scene.lab.client;
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
    let begun = Instant::now();
    let mut connections = 0;
    while begun.elapsed() < duration() {
        let tally = traffic::connect(&scene.lab.client, web, 500);
        assert_eq!(
            (tally.of("app1"), tally.of("app2"), tally.errors.len()),
            (250, 250, 0),
            "{tally:?}"
        );
        assert_eq!(traffic::ask(&scene.lab.client, dns, 100).of("app1"), 100);
        connections += 600;
    }
    println!("{connections} flows in {:?}", begun.elapsed());
    eventually(Duration::from_secs(60), || {
        scene.agent.items(&["flows", "list"]).is_empty()
    });
}

#[test]
#[ignore = "runs for minutes"]
fn agents_die_all_the_time_and_no_connection_notices() {
    let mut scene = Scene::routed();
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, 200);
    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < duration() {
        scene.agent.kill();
        let tally = traffic::connect(&scene.lab.client, web, 10);
        assert_eq!(
            (tally.of("app1"), tally.of("app2"), tally.errors.len()),
            (5, 5, 0),
            "{tally:?}"
        );
        scene.agent.restart();
        live.progress();
        kills += 1;
    }
    println!("{kills} kills in {:?}", begun.elapsed());
    assert_eq!(live.finish().errors, Vec::<String>::new());
}
