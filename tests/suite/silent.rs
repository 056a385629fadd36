//! An engine that does not answer: what it counts is not known, and no display says that it is nothing.
//! Forwarding goes on, changes are taken and wait, and `status` names the part.

use std::time::Duration;

use kit::{
    Config, FrozenThread, Lab, V4, eventually, finish,
    traffic::{self, Live},
};
use serde_json::Value;

use crate::{engines::Engine, scene::Scene};

const SOON: Duration = Duration::from_secs(20);
const FORWARDING: &str = "forwarding";

fn part(scene: &Scene, name: &str) -> Value {
    scene.agent.ctl_json_whatever(&["status"])[name].clone()
}

fn port(scene: &Scene) -> Value {
    let mut ports = scene.agent.items(&["ports", "list"]).into_iter();
    ports.find(|port| port["name"] == "web").unwrap()
}

fn scrape(scene: &Scene) -> String {
    let mut curl = scene.agent.host().command("curl");
    let done = finish(curl.args(["-s", "http://127.0.0.1:9442/metrics"]));
    done.ok().stdout
}

/// Lists, one port, its backends, what it carries, and metrics.
#[track_caller]
fn shows_that_nothing_is_known(scene: &Scene) {
    let list = port(scene);
    for key in ["flows", "rate_bps", "rate_in_bps", "rate_out_bps"] {
        assert_eq!(list[key], Value::Null, "{key}: {list}");
    }
    assert!(list["unknown"].to_string().contains("does not answer"));
    assert_eq!(
        (&list["path"], &list["state"]),
        (&Value::from("?"), &Value::from("up"))
    );
    let shown = scene.agent.ctl(&["ports", "show", "web"]).ok().stdout;
    assert!(
        shown.contains("? (the thread that keeps the datapath does not answer)"),
        "{shown}"
    );
    let wide = scene
        .agent
        .ctl(&["ports", "list", "-o", "wide"])
        .ok()
        .stdout;
    assert!(wide.contains("does not answer"), "{wide}");
    for backend in scene.agent.items(&["backends", "list", "web"]) {
        for key in ["flows", "flows_total", "forward_bytes", "reply_packets"] {
            assert_eq!(backend[key], Value::Null, "{key}: {backend}");
        }
    }
    let top = scene.agent.ctl_json(&["top", "--once"]);
    assert_eq!(
        (&top["flows"], &top["items"][0]["flows"]),
        (&Value::Null, &Value::Null)
    );
    let told = scrape(scene);
    let told: Vec<&str> = told.lines().filter(|line| !line.starts_with("#")).collect();
    for name in [
        "harbor_port_flows{",
        "harbor_flow_table_flows",
        "harbor_backend_flows{",
    ] {
        assert!(!told.iter().any(|line| line.contains(name)), "{name}");
    }
}

#[test]
fn a_datapath_that_does_not_answer_is_named_and_its_counters_are_unknown() {
    let metrics = "[metrics]\nlisten = \"127.0.0.1:9442\"\n";
    let mut scene = Scene::on(Lab::routed(), &Config::with(metrics));
    let web = scene.port("web");
    let live = Live::open(&scene.lab.client, web, 10);
    eventually(SOON, || port(&scene)["flows"] == 10);
    assert!(scrape(&scene).contains("harbor_port_flows{"));

    let frozen = FrozenThread::of(scene.agent.process(), FORWARDING);
    eventually(SOON, || part(&scene, "datapath")["state"] == "down");
    let text = part(&scene, "datapath")["text"].to_string();
    assert!(text.contains("does not answer"), "{text}");
    assert_eq!(scene.agent.ctl(&["status"]).code, 7);
    assert!(
        part(&scene, "flows")["text"]
            .to_string()
            .contains("not known")
    );
    shows_that_nothing_is_known(&scene);
    // Flows are read without the thread.
    assert_eq!(scene.agent.ctl_json(&["flows", "count"])["flows"], 10);
    let tally = traffic::connect(&scene.lab.client, web, 20);
    assert_eq!((tally.of("app1"), tally.of("app2")), (10, 10), "{tally:?}");
    live.progress();
    // What is changed is taken, and said to wait.
    let more = scene
        .agent
        .create(&["more", "--backend", &scene.app(0).to_string()]);
    let waits = scene.agent.ctl_json(&["ports", "show", "more"]);
    assert!(
        waits["reason"].to_string().contains("did not answer"),
        "{waits}"
    );

    drop(frozen);
    eventually(SOON, || scene.agent.ctl(&["status"]).code == 0);
    eventually(SOON, || port(&scene)["flows"].is_u64());
    let tally = traffic::connect(&scene.lab.client, scene.at(more), 5);
    assert_eq!(tally.of("app1"), 5, "{tally:?}");
    let top = scene.agent.ctl_json(&["top", "--once"]);
    assert!(top["new_flows_per_s"].as_f64().unwrap() < 1_000.0, "{top}");
    assert_eq!(live.finish().errors, [""; 0]);
}

/// A list without the flows of one thread is no list of all.
#[test]
fn a_thread_of_the_proxy_that_does_not_answer_leaves_no_false_number() {
    let mut scene = Engine::Proxy.on(Lab::routed(), &Config::default());
    let web = scene.port("web");
    let live = Live::open(&scene.lab.client, web, 10);
    let count = |scene: &Scene| scene.agent.ctl(&["flows", "count", "-o", "json"]);
    eventually(SOON, || count(&scene).ok().json()["flows"] == 10);
    let frozen = FrozenThread::of(scene.agent.process(), "proxy-0");
    for words in [
        &["flows", "count"][..],
        &["flows", "list"],
        &["flows", "kill", "--all", "--yes"],
    ] {
        let refused = scene.agent.ctl(words);
        assert_eq!(refused.code, 7, "{words:?}: {}", refused.stdout);
        assert!(
            refused
                .stderr
                .contains("a thread of the proxy does not answer"),
            "{}",
            refused.stderr
        );
    }
    drop(frozen);
    eventually(SOON, || count(&scene).code == 0);
    drop(live);
}

#[test]
fn what_ports_of_other_nodes_carry_is_not_known_here() {
    let lab = Lab::routed();
    let redis = crate::registry::redis_of(&lab);
    let one = crate::registry::other(&lab, &redis.config("one"), "one");
    let two = crate::registry::other(&lab, &redis.config("two"), "two");
    let app = std::net::SocketAddr::new(lab.app(V4, 0), 9_001).to_string();
    one.create(&["web", "--backend", &app]);
    eventually(SOON, || two.items(&["ports", "list"]).len() == 1);
    let there = two.items(&["ports", "list"])[0].clone();
    assert_eq!(
        (&there["flows"], &there["path"]),
        (&Value::Null, &Value::from("?")),
        "{there}"
    );
    assert!(there["unknown"].to_string().contains("node one"), "{there}");
    assert_eq!(one.items(&["ports", "list"])[0]["flows"], 0);
}
