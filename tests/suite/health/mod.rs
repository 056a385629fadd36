//! Backends that are probed: who leaves the rotation, who comes back, and what clients notice.

mod forged;
mod node;
mod passive;
mod suspects;
mod ward;
mod web;

use std::time::Duration;

use kit::{
    V4, eventually,
    traffic::{self, Asker, Live},
};
use nix::sys::signal::Signal;
use ward::Ward;
use web::fetch;

use crate::scene::FAMILIES;

/// Time for a few probes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_backend_that_dies_leaves_the_rotation_without_a_client_noticing_and_comes_back() {
    for family in FAMILIES {
        let mut ward = Ward::new(family);
        let to = ward.port("web", &["health=tcp", "health_fall=2"]);
        ward.is_balanced(to);
        ward.kill(0);
        // The first may be refused and asked again; nobody is told of it.
        let tally = traffic::connect(&ward.lab.client, to, 5);
        assert_eq!((tally.of("app2"), tally.errors.len()), (5, 0), "{tally:?}");
        ward.becomes(SOON, "web", ["failing", "up"]);
        // A probe that was refused, or a client that was: whichever came second.
        let reason = ward.backends("web")[0]["reason"].clone();
        let reasons = [
            "connection refused",
            "a client's SYN was answered with a reset",
        ];
        assert!(reasons.iter().any(|known| reason == *known), "{reason}");
        let why = ward.explained(to);
        assert!(why.contains("is failing: "), "{why}");
        let shown = ward.agent.ctl_json(&["ports", "show", "web"]);
        assert_eq!(shown["state"], "degraded", "{shown}");
        assert_eq!(shown["backends"]["up"], 1, "{shown}");
        let tally = traffic::connect(&ward.lab.client, to, 10);
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
        ward.revive(0);
        ward.becomes(SOON, "web", ["up", "up"]);
        // What the datapath itself holds against it is over after a while, too.
        eventually(SOON, || {
            traffic::connect(&ward.lab.client, to, 2).of("app1") == 1
        });
    }
}

#[test]
fn a_frozen_backend_keeps_its_connections_and_loses_its_datagrams_for_good() {
    for family in FAMILIES {
        let ward = Ward::new(family);
        let check = ["health=udp:are you there/you", "health_fall=2"];
        let to = ward.port("both-app", &check);
        let live = Live::open(&ward.lab.client, to, 4);
        let asker = Asker::new(&ward.lab.client, family);
        assert_eq!(asker.ask(to, b"who").unwrap(), "app1");
        ward.signal(0, Signal::SIGSTOP);
        ward.becomes(SOON, "both-app", ["failing", "up"]);
        let failing = &ward.backends("both-app")[0];
        assert_eq!(failing["reason"], "no answer within 1s");
        assert_eq!(asker.ask(to, b"and now").unwrap(), "app2");
        ward.signal(0, Signal::SIGCONT);
        ward.becomes(SOON, "both-app", ["up", "up"]);
        live.progress();
        let tally = live.finish();
        let counts = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(counts, (2, 2, 0), "{tally:?}");
        assert_eq!(asker.ask(to, b"still").unwrap(), "app2");
        let others = traffic::ask(&ward.lab.client, to, 3);
        assert_eq!(others.of("app2"), 3, "nobody goes back: {others:?}");
    }
}

#[test]
fn an_app_host_that_is_cut_off_is_out_and_the_others_flows_go_on() {
    let ward = Ward::new(V4);
    let to = ward.port("web", &["health=tcp", "health_fall=2"]);
    let other = ward
        .agent
        .create(&["other", "--backend", &ward.app(1).to_string()]);
    let other = (ward.lab.public(V4), other).into();
    let live = Live::open(&ward.lab.client, other, 8);
    ward.lab.apps[0].ip("link set eth0 down");
    ward.becomes(SOON, "web", ["failing", "up"]);
    let tally = traffic::connect(&ward.lab.client, to, 10);
    assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
    live.progress();
    ward.lab.apps[0].ip("link set eth0 up");
    ward.becomes(SOON, "web", ["up", "up"]);
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

#[test]
fn a_web_server_is_judged_by_its_status() {
    for family in FAMILIES {
        let ward = Ward::new(family);
        let (webs, to) = ward.webs("web", &["health_fall=2", "health_rise=2"]);
        webs[0].says(500);
        ward.becomes(SOON, "web", ["failing", "up"]);
        let failing = &ward.backends("web")[0];
        assert_eq!(failing["reason"], "HTTP status 500 is not 200-399");
        for _ in 0..5 {
            assert_eq!(fetch(&ward.lab, to).unwrap(), "app2");
        }
        webs[0].says(200);
        ward.becomes(SOON, "web", ["up", "up"]);
        let mut names = [0, 1].map(|_| fetch(&ward.lab, to).unwrap());
        names.sort();
        assert_eq!(names, ["app1", "app2"]);
        ward.agent
            .ctl(&["ports", "set", "web", "health_status=204"])
            .ok();
        ward.becomes(SOON, "web", ["failing", "failing"]);
        // Whom nobody probes nobody judges.
        ward.agent.ctl(&["ports", "set", "web", "health=off"]).ok();
        ward.becomes(SOON, "web", ["up", "up"]);
    }
}

#[test]
fn check_asks_now_and_says_what_each_backend_answered() {
    let mut ward = Ward::new(V4);
    ward.port("web", &[]);
    ward.port("udp-game", &[]);
    let check = |ward: &Ward, words: &[&str]| {
        let words = [&["backends", "check"], words, &["-o", "json"]].concat();
        ward.agent.ctl(&words)
    };
    let all = check(&ward, &["web"]).ok().json();
    assert_eq!(all["kind"], "CheckList");
    assert_eq!(all["items"][0]["check"], "tcp");
    ward.kill(1);
    let one = check(&ward, &["web"]);
    assert_eq!(one.code, 7, "{}", one.stdout);
    let items = &one.json()["items"];
    assert_eq!(items[0]["result"], "pass");
    assert_eq!(items[1]["result"], "fail");
    assert_eq!(items[1]["reason"], "connection refused");
    assert_eq!(ward.backends("web")[1]["state"], "up", "nothing follows");
    let refused = check(&ward, &["udp-game"]);
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let tried = check(&ward, &["udp-game", "health=udp:ping/ping"]);
    assert_eq!(tried.code, 7, "{}", tried.stderr);
    assert_eq!(tried.json()["items"][0]["result"], "pass");
    assert_eq!(check(&ward, &["nobody"]).code, 4);
}
