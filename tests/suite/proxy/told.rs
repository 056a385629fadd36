//! What an operator is told of the proxy.

use std::net::SocketAddr;

use kit::{Agent, Config, Lab, V4, V6, traffic};
use serde_json::Value;

use crate::{engines::Engine, scene::APP_PORT};

fn explain(agent: &Agent, from: SocketAddr, to: SocketAddr) -> Value {
    let (from, to) = (from.to_string(), to.to_string());
    agent.ctl_json(&["explain", "--src", &from, "--dst", &to])
}

#[test]
fn status_and_ports_say_who_forwards() {
    for (engine, path, text) in [
        (Engine::Tc, "tc", "tc on eth0 eth1"),
        (Engine::Proxy, "proxy", "proxy, as configured"),
    ] {
        let scene = engine.routed();
        let to = scene.port("web");
        let port = scene.agent.ctl_json(&["ports", "show", "web"]);
        assert_eq!(
            (&port["path"], &port["state"]),
            (&path.into(), &"up".into())
        );
        let status = scene.agent.ctl_json(&["status"]);
        assert!(
            status["datapath"]["text"].to_string().contains(text),
            "{status}"
        );
        assert!(
            status["proxy"]["text"]
                .to_string()
                .contains("1 number held"),
            "{status}"
        );
        let live = traffic::Live::open(&scene.lab.node, to, 3);
        let flows = scene.agent.items(&["flows", "list"]);
        assert_eq!(flows.len(), 3, "{flows:?}");
        assert!(flows.iter().all(|flow| flow["frontend"] == to.to_string()));
        assert_eq!(scene.agent.ctl_json(&["ports", "show", "web"])["flows"], 3);
        assert_eq!(live.finish().errors, Vec::<String>::new());
    }
}

#[test]
fn an_explanation_follows_a_packet_to_the_proxy() {
    let scene = Engine::Tc.routed();
    let to = scene.port("web");
    let here = SocketAddr::new(scene.lab.public(V4), 40_000);
    let found = explain(&scene.agent, here, to);
    assert_eq!(found["name"], "forward", "{found}");
    assert_eq!(found["port"]["name"], "web", "{found}");
    // The port's backends are of the other family.
    let from = SocketAddr::new(scene.lab.client_address(V6), 40_000);
    let found = explain(
        &scene.agent,
        from,
        SocketAddr::new(scene.lab.public(V6), to.port()),
    );
    assert_eq!(found["name"], "forward", "{found}");
    let stages = found["stages"].to_string();
    assert!(
        stages.contains("other-family") && stages.contains("proxy"),
        "{found}"
    );
}

/// A container, an old kernel: no right to load programs, and nothing configured.
#[test]
fn without_the_right_to_load_programs_the_proxy_serves_by_itself() {
    let lab = Lab::routed();
    let app = SocketAddr::new(lab.app(V4, 0), APP_PORT);
    let _app = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[app]);
    let words = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
    let config = Config {
        wrapper: words.iter().map(|&word| word.into()).collect(),
        ..Config::default()
    };
    let mut agent = Agent::start_with(&lab, &config);
    let port = agent.create(&["both-web", "--backend", &app.to_string()]);
    let to = SocketAddr::new(lab.public(V4), port);
    assert_eq!(traffic::connect(&lab.client, to, 10).of("app1"), 10);
    assert_eq!(traffic::ask(&lab.client, to, 10).of("app1"), 10);
    let status = agent.ctl(&["status"]);
    assert_eq!(status.code, 7, "{}", status.stdout);
    for part in ["the proxy forwards alone", "config set datapath.mode proxy"] {
        assert!(status.stdout.contains(part), "{}", status.stdout);
    }
    agent.ctl(&["config", "set", "datapath.mode", "proxy"]).ok();
    agent.stop();
    agent.restart();
    assert_eq!(
        agent.ctl(&["status"]).code,
        0,
        "{}",
        agent.ctl(&["status"]).stdout
    );
    assert_eq!(traffic::connect(&lab.client, to, 4).of("app1"), 4);
}
