//! What is shown of settings that wait, of drains that are meant, and of apps that clients found dead.

use std::{net::SocketAddr, time::Duration};

use kit::{V4, eventually, traffic};

use super::{SOON, part};
use crate::scene::Scene;

#[test]
fn what_waits_for_a_restart_is_shown_beside_what_is_in_force() {
    let mut scene = Scene::routed();
    let agent = &mut scene.agent;
    agent.ctl(&["config", "set", "log.keep", "3"]).ok();
    let (is_ok, text) = part(agent, "configuration");
    assert!(
        is_ok && text.contains("1 setting waits for a restart: log.keep"),
        "{text}"
    );
    let got = agent.ctl(&["config", "get", "log.keep"]).ok();
    assert_eq!(got.stdout, "3\n");
    assert!(
        got.stderr.contains("in force until a restart: 14"),
        "{}",
        got.stderr
    );
    let item = agent.ctl_json(&["config", "get", "log.keep"]);
    assert_eq!(
        (&item["value"], &item["in_force"]),
        (&"3".into(), &"14".into())
    );
    // So it is with the size of the tables.
    agent.ctl(&["config", "set", "datapath.flows", "4096"]).ok();
    let item = agent.ctl_json(&["config", "get", "datapath.flows"]);
    assert_eq!(
        (&item["value"], &item["in_force"]),
        (&"4096".into(), &"262144".into())
    );
    let (is_ok, said) = part(agent, "flows");
    assert!(is_ok && said.contains("0 of 262144"), "{said}");
    // What is put back to what runs waits for nothing.
    let set = |value: &str| {
        let set = agent.ctl_json(&["config", "set", "datapath.flows", value]);
        set["applies"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        (set("262144"), set("4096")),
        ("at-once".into(), "restart".into())
    );
    agent.stop();
    agent.restart();
    let (is_ok, said) = part(agent, "flows");
    assert!(is_ok && said.contains("0 of 4096"), "{said}");
}

#[test]
fn a_drain_is_planned_and_an_app_that_refuses_is_not() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let shown = |name: &str| scene.agent.ctl_json(&["ports", "show", name]);
    let state = |name: &str| {
        (
            shown(name)["state"].clone(),
            shown(name)["backends"]["up"].clone(),
        )
    };
    scene
        .agent
        .ctl(&["backends", "drain", "web", &scene.app(0).to_string()])
        .ok();
    assert_eq!(state("web"), ("up".into(), 1.into()));
    assert_eq!(scene.agent.ctl(&["status"]).code, 0);
    scene
        .agent
        .ctl(&["backends", "drain", "web", &scene.app(1).to_string()])
        .ok();
    assert_eq!(state("web"), ("draining".into(), 0.into()));
    assert_eq!(scene.agent.ctl(&["status"]).code, 0);
    // Nobody listens at one of two, and nobody probes it: clients find out, and it shows.
    let dead = SocketAddr::new(scene.lab.app(V4, 0), 9_099).to_string();
    let words = ["half", "--backend", &dead, "--backend"];
    let app = scene.app(1).to_string();
    let to = scene.at(scene.agent.create(&[&words[..], &[&app]].concat()));
    assert_eq!(state("half"), ("up".into(), 2.into()));
    eventually(SOON, || {
        traffic::connect(&scene.lab.client, to, 2);
        state("half") == ("degraded".into(), 1.into())
    });
    let wide = || {
        scene
            .agent
            .ctl(&["ports", "list", "-o", "wide"])
            .ok()
            .stdout
    };
    let reason = "1 of 2 backends take new flows";
    eventually(SOON, || {
        traffic::connect(&scene.lab.client, to, 2);
        wide().contains(reason)
    });
    assert!(wide().contains("REASON"), "{}", wide());
    // Filters and order.
    let names = |arguments: &[&str]| -> Vec<String> {
        let items = scene.agent.items(&[&["ports", "list"], arguments].concat());
        items
            .iter()
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(&["--state", "draining"]), ["web"]);
    assert_eq!(names(&["--sort", "name"]), ["half", "web"]);
    assert_eq!(names(&["--name", "al", "--protocol", "tcp"]), ["half"]);
    assert_eq!(names(&["--protocol", "udp"]), Vec::<String>::new());
    assert_eq!(shown("web")["public"], web.to_string());
}

#[test]
fn a_port_counts_on_when_another_engine_serves_it() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let counted = || -> (u64, u64) {
        let counters = scene.agent.ctl_json(&["ports", "show", "web"])["counters"][0].clone();
        let number = |key: &str| counters[key].as_u64().unwrap();
        (number("flows_total"), number("forward_packets"))
    };
    let path = || scene.agent.ctl_json(&["ports", "show", "web"])["path"].clone();
    let mut before = (0, 0);
    for (client_ip, engine) in [("snat", "tc"), ("proxy-v2", "proxy"), ("snat", "tc")] {
        let set = format!("client_ip={client_ip}");
        scene.agent.ctl(&["ports", "set", "web", &set]).ok();
        eventually(SOON, || path() == engine);
        let kept = counted();
        assert!(
            kept.0 >= before.0 && kept.1 >= before.1,
            "{kept:?} after {before:?}"
        );
        // The app does not speak the PROXY protocol, and hangs up on some.
        traffic::connect(&scene.lab.client, web, 10);
        let least = if engine == "tc" { 10 } else { 1 };
        eventually(SOON, || counted().0 >= kept.0 + least);
        before = counted();
        println!("{engine}: {before:?}");
    }
    // Its number is somebody else's then.
    scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    let number = web.port().to_string();
    scene.agent.create(&["web", "--port", &number]);
    assert_eq!(counted().0, 0);
}

#[test]
fn a_dead_backend_that_nobody_probes_any_more_is_not_said_to_be_up_again() {
    let scene = Scene::routed();
    let agent = &scene.agent;
    for (key, value) in [("health.interval", "1s"), ("health.check", "tcp")] {
        agent.ctl(&["config", "set", key, value]).ok();
    }
    let dead = SocketAddr::new(scene.lab.app(V4, 0), 9_099).to_string();
    agent.create(&["web", "--backend", &dead]);
    let has = |kind: &str| !agent.items(&["events", "--kind", kind]).is_empty();
    eventually(SOON, || has("backend_failing"));
    agent.ctl(&["config", "set", "health.check", "off"]).ok();
    eventually(SOON, || has("backend_unknown"));
    assert!(!has("backend_recovered"));
    assert!(!agent.log("node").contains("up again"));
    assert!(agent.log("node").contains("not probed any more"));
}

#[test]
fn an_explanation_names_a_missing_route_and_never_forwards_for_another_host() {
    let scene = Scene::routed();
    let web = scene.port("web");
    let far = scene.agent.create(&["far", "--backend", "172.31.9.9:80"]);
    let explain = |to: SocketAddr| {
        let client = scene.lab.client_address(V4);
        let words = ["explain", "--src", &format!("{client}:40000"), "--dst"];
        scene
            .agent
            .ctl_json(&[&words[..], &[&to.to_string()]].concat())
    };
    let lost = explain(scene.at(far));
    assert_eq!(lost["verdict"], "drop");
    let why = lost["why"].to_string();
    assert!(
        why.contains("no route to") && why.contains("172.31.9.9"),
        "{why}"
    );
    assert_eq!(explain(web)["verdict"], "forward");
    let elsewhere = SocketAddr::new([10, 77, 9, 9].into(), web.port());
    assert_eq!(explain(elsewhere)["verdict"], "pass");
}

/// One backend, no health check, and nobody listens: the clients find out, and so does everybody who looks.
#[test]
fn a_port_whose_only_app_refuses_is_down_because_nobody_listens() {
    let scene = Scene::routed();
    let dead = SocketAddr::new(scene.lab.app(V4, 0), 9_099).to_string();
    let to = scene.at(scene.agent.create(&["dead", "--backend", &dead]));
    let tally = traffic::connect(&scene.lab.client, to, 100);
    assert!(
        tally.names.is_empty() && !tally.errors.is_empty(),
        "{tally:?}"
    );
    let shown = || scene.agent.ctl_json(&["ports", "show", "dead"]);
    eventually(SOON, || {
        traffic::connect(&scene.lab.client, to, 1);
        shown()["state"] == "down"
    });
    let port = shown();
    let reason = port["reason"].as_str().unwrap();
    assert!(reason.starts_with("nobody listens"), "{port}");
    assert_eq!(
        (&port["backends"]["up"], &port["backends"]["total"]),
        (&0.into(), &1.into())
    );
    let (is_ok, text) = part(&scene.agent, "ports");
    assert!(!is_ok && text.contains("nobody listens"), "{text}");
    assert_eq!(scene.agent.ctl(&["status"]).code, 7);
    let backend = || scene.agent.items(&["backends", "list", "dead"])[0].clone();
    assert_eq!(backend()["state"], "suspect", "{}", backend());
    assert!(backend()["reason"].is_string(), "{}", backend());
    let kinds = || -> Vec<serde_json::Value> {
        let events = scene.agent.items(&["events", "--port", "dead"]);
        events.iter().map(|event| event["kind"].clone()).collect()
    };
    assert!(kinds().contains(&"backend_failing".into()), "{:?}", kinds());
    assert!(scene.agent.log("node").contains("takes nobody"));
    // Somebody listens: clients went there all the time.
    let address: SocketAddr = dead.parse().unwrap();
    let _app = traffic::serve(&scene.lab.apps[0], scene.lab.folder(), "late", &[address]);
    eventually(SOON, || shown()["state"] == "up");
    assert_eq!(traffic::connect(&scene.lab.client, to, 10).of("late"), 10);
    assert_eq!(backend()["state"], "up");
    assert!(
        kinds().contains(&"backend_recovered".into()),
        "{:?}",
        kinds()
    );
}

/// A closed port answers a datagram with ICMP, of which two clients have to hear: the rule is the same.
#[test]
fn a_udp_port_whose_only_app_refuses_is_down_because_nobody_listens() {
    let scene = Scene::routed();
    let dead = SocketAddr::new(scene.lab.app(V4, 0), 9_099).to_string();
    let to = scene.at(scene.agent.create(&["udp-dead", "--backend", &dead]));
    let inside = SocketAddr::new(scene.lab.translation(V4), to.port());
    let clients = [(&scene.lab.client, to), (&scene.lab.apps[1], inside)];
    let shown = || scene.agent.ctl_json(&["ports", "show", "udp-dead"]);
    eventually(SOON, || {
        for (host, to) in clients {
            let asker = traffic::Asker::new(host, V4);
            let answer = asker.try_ask(to, b"who", Duration::from_millis(100));
            assert_eq!(answer, None);
        }
        shown()["state"] == "down"
    });
    let port = shown();
    let reason = port["reason"].as_str().unwrap();
    assert!(reason.starts_with("nobody listens"), "{port}");
    assert_eq!(port["backends"]["up"], 0, "{port}");
    let (is_ok, text) = part(&scene.agent, "ports");
    assert!(!is_ok && text.contains("nobody listens"), "{text}");
}
