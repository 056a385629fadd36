//! What health does when everything fails: all backends, the agent, the node's own network.

use std::fs;

use kit::{
    V4, eventually,
    traffic::{self, Live},
};

use super::{SOON, Ward, fetch};

#[test]
fn when_all_fail_the_last_known_are_used_or_clients_refused() {
    let ward = Ward::new(V4);
    let (webs, to) = ward.webs("web", &["health_fall=1"]);
    webs.iter().for_each(|web| web.says(503));
    ward.becomes(SOON, "web", ["failing", "failing"]);
    let mut names = [0, 1].map(|_| fetch(&ward.lab, to).unwrap());
    names.sort();
    assert_eq!(names, ["app1", "app2"]);
    let status = ward.agent.ctl(&["status"]);
    assert_eq!(status.code, 7);
    let words = [
        "every backend is failing",
        "HTTP status 503",
        "the last known are used",
    ];
    for word in words {
        assert!(status.stdout.contains(word), "{word}: {}", status.stdout);
    }

    ward.agent
        .ctl(&["config", "set", "health.all_down", "refuse"])
        .ok();
    assert!(fetch(&ward.lab, to).is_err());
    let shown = ward.agent.ctl_json(&["ports", "show", "web"]);
    assert_eq!(shown["state"], "down", "{shown}");
    webs[1].says(200);
    ward.becomes(SOON, "web", ["failing", "up"]);
    assert_eq!(fetch(&ward.lab, to).unwrap(), "app2");
}

#[test]
fn a_restart_forgets_no_state_and_no_flow() {
    let mut ward = Ward::new(V4);
    let (webs, to) = ward.webs("web", &["health_fall=1"]);
    let other = ward.port("other", &["health=tcp"]);
    webs[0].says(500);
    ward.becomes(SOON, "web", ["failing", "up"]);
    let live = Live::open(&ward.lab.client, other, 8);
    let is_so = |ward: &Ward| {
        for _ in 0..10 {
            assert_eq!(fetch(&ward.lab, to).unwrap(), "app2");
        }
        let failing = &ward.backends("web")[0];
        assert_eq!(failing["state"], "failing");
        assert_eq!(failing["reason"], "HTTP status 500 is not 200-399");
    };
    ward.agent.kill();
    ward.agent.restart();
    is_so(&ward);
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());
    // Without the kernel's tables it comes from the registry.
    ward.agent.kill();
    fs::remove_dir_all(ward.lab.bpf()).unwrap();
    ward.agent.restart();
    is_so(&ward);
    // And it is looked at again.
    webs[0].says(200);
    ward.becomes(SOON, "web", ["up", "up"]);
    // One that has died while no agent was there leaves.
    ward.agent.kill();
    webs[1].says(500);
    ward.agent.restart();
    ward.becomes(SOON, "web", ["up", "failing"]);
}

#[test]
fn a_node_that_is_cut_off_keeps_every_state_and_says_so() {
    let ward = Ward::new(V4);
    let names = ["one", "two", "three"];
    let ports = names.map(|name| ward.port(name, &["health=tcp", "health_fall=2"]));
    names.iter().for_each(|name| ward.probed(name, 6));
    for app in &ward.lab.apps {
        app.ip("link set eth0 down");
    }
    eventually(SOON, || {
        let status = ward.status();
        let text = status["health"]["text"].as_str().unwrap().to_owned();
        status["health"]["state"] == "degraded" && text.contains("6 of 6 do not answer")
    });
    // Longer than the fall of all.
    let failures = || ward.agent.log("node").matches("backend is failing").count();
    ward.elapses(4);
    assert_eq!(failures(), 0);
    for app in &ward.lab.apps {
        app.ip("link set eth0 up");
    }
    eventually(SOON, || ward.status()["health"]["state"] == "ok");
    assert_eq!(failures(), 0);
    for port in ports {
        let tally = traffic::connect(&ward.lab.client, port, 4);
        assert_eq!(tally.errors, Vec::<String>::new());
    }
}
