//! What an operator does while traffic flows: lists, kills, explanations, weights.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use kit::{Agent, Family, eventually, traffic};
use serde_json::Value;

use super::Engine;
use crate::scene::{APP_PORT, FAMILIES};

super::scenarios!(
    a_client_that_is_denied_loses_its_flows_and_gets_no_new_ones,
    flows_end_that_are_named_and_no_others,
    an_explanation_is_what_then_happens_and_changes_nothing,
    weights_share_new_connections_and_backends_show_their_part,
    a_port_of_both_families_serves_each_with_its_own_backends,
);

const SOON: Duration = Duration::from_secs(5);

/// All flows that the agent sees.
fn flows(agent: &Agent) -> u64 {
    agent.ctl_json(&["flows", "count"])["flows"]
        .as_u64()
        .unwrap()
}

fn network_of(client: IpAddr) -> String {
    match client {
        IpAddr::V4(_) => format!("{client}/24"),
        IpAddr::V6(_) => format!("{client}/64"),
    }
}

fn a_client_that_is_denied_loses_its_flows_and_gets_no_new_ones(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 4);
        let denied = network_of(scene.lab.client_address(family));
        scene
            .agent
            .ctl_json(&["ports", "set", "web", &format!("denied_cidrs={denied}")]);
        eventually(SOON, || flows(&scene.agent) == 0);
        assert_eq!(live.finish().errors.len(), 4);
        assert_ne!(traffic::connect(&scene.lab.client, to, 1).errors.len(), 0);
        scene
            .agent
            .ctl_json(&["ports", "set", "web", "denied_cidrs=none"]);
        assert_eq!(traffic::connect(&scene.lab.client, to, 4).errors.len(), 0);
    }
}

fn flows_end_that_are_named_and_no_others(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let live = traffic::Live::open(&scene.lab.client, to, 6);
        let first = scene.app(0).to_string();
        let nobody = ["flows", "kill", "192.0.2.99", "--yes"];
        assert_eq!(scene.agent.ctl_json(&nobody)["flows"], 0);
        let half = ["flows", "kill", "-p", "web", "--backend", &first, "--yes"];
        assert_eq!(scene.agent.ctl_json(&half)["flows"], 3);
        let tally = live.finish();
        assert_eq!((tally.errors.len(), tally.of("app2")), (3, 3), "{tally:?}");
    }
}

fn an_explanation_is_what_then_happens_and_changes_nothing(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let client = SocketAddr::new(scene.lab.client_address(family), 40_000);
        let explain = |to: SocketAddr| -> Value {
            let (from, to) = (client.to_string(), to.to_string());
            scene
                .agent
                .ctl_json(&["explain", "--src", &from, "--dst", &to])
        };
        let counted = || scene.agent.ctl_json(&["ports", "show", "web"])["counters"].clone();
        let before = counted();
        let (once, again) = (explain(to), explain(to));
        assert_eq!(once["name"], "forward", "{once}");
        assert_eq!(once, again);
        assert_eq!(counted(), before);
        assert_eq!(flows(&scene.agent), 0);

        let said = once["backend"]["address"].as_str().unwrap();
        let met = match said == scene.app(0).to_string() {
            true => "app1",
            false => "app2",
        };
        let tally = traffic::connect(&scene.lab.client, to, 1);
        assert_eq!(tally.of(met), 1, "{once} but {tally:?}");

        let nobody = explain(scene.at(34_999));
        assert_eq!(nobody["name"], "not-ours");
        assert!(
            nobody["why"][0].as_str().unwrap().contains("34999"),
            "{nobody}"
        );
        scene.agent.ctl(&["ports", "drain", "web"]).ok();
        let drained = explain(to);
        assert_eq!(drained["name"], "no-backend");
        assert!(
            drained["why"][0].as_str().unwrap().contains("drains"),
            "{drained}"
        );
    }
}

fn weights_share_new_connections_and_backends_show_their_part(engine: Engine) {
    for family in FAMILIES {
        let scene = engine.routed().of(family);
        let to = scene.port("web");
        let first = scene.app(0).to_string();
        scene
            .agent
            .ctl_json(&["backends", "add", "web", &first, "--weight", "3"]);
        let tally = traffic::connect(&scene.lab.client, to, 40);
        assert_eq!((tally.of("app1"), tally.of("app2")), (30, 10), "{tally:?}");
        eventually(SOON, || {
            let items = scene.agent.items(&["backends", "list", "web"]);
            let of = |name: &str| {
                let counts = items.iter().map(|item| item[name].as_u64().unwrap());
                counts.collect::<Vec<_>>()
            };
            of("flows_total") == [30, 10] && of("reply_bytes").iter().all(|bytes| *bytes > 0)
        });
    }
}

fn a_port_of_both_families_serves_each_with_its_own_backends(engine: Engine) {
    let scene = engine.routed();
    let all = FAMILIES.map(|family| scene.lab.app(family, 0));
    let backends = all.map(|ip| SocketAddr::new(ip, APP_PORT).to_string());
    let port = scene
        .agent
        .create(&["web", "--backend", &backends[0], "--backend", &backends[1]]);
    let dial = |family: Family| SocketAddr::new(scene.lab.public(family), port);
    for family in FAMILIES {
        let tally = traffic::connect(&scene.lab.client, dial(family), 6);
        assert_eq!(tally.of("app1"), 6, "{tally:?}");
    }
    let counted = scene.agent.items(&["backends", "list", "web"]);
    assert_eq!(counted.len(), 2);
}
