//! What clients' flows show of a backend, and what is made of it, in each engine.

use std::{net::SocketAddr, time::Instant};

use kit::{
    Family, eventually,
    traffic::{self, Asker, Live},
};
use serde_json::Value;

use super::{SOON, Ward};
use crate::{
    engines::{Engine, scenarios},
    scene::FAMILIES,
};

scenarios!(
    a_dead_backend_is_ejected_with_a_reason_and_returns_when_it_answers,
    a_backend_that_falls_silent_is_ejected_and_the_first_is_the_first_again,
    an_error_about_one_clients_datagrams_moves_that_flow_alone,
    datagrams_that_two_clients_lose_eject_their_backend,
    nobody_is_ejected_where_that_is_off_and_who_is_comes_back_when_it_is_turned_off,
    the_only_backend_is_never_ejected,
);

fn ward(engine: Engine, family: Family) -> Ward {
    Ward::with(family, engine.lines())
}

/// What has been told of backends, in order.
fn told(ward: &Ward) -> Vec<String> {
    let events = ward.agent.items(&["events"]);
    let kinds = events.iter().map(|event| event["kind"].as_str().unwrap());
    let turns = kinds.filter(|kind| ["backend_ejected", "backend_returned"].contains(kind));
    turns.map(str::to_owned).collect()
}

fn last_event(ward: &Ward, kind: &str) -> Value {
    let events = ward.agent.items(&["events"]);
    let last = events.into_iter().rev().find(|event| event["kind"] == kind);
    last.unwrap_or_else(|| panic!("no {kind}"))
}

fn a_dead_backend_is_ejected_with_a_reason_and_returns_when_it_answers(engine: Engine) {
    for family in FAMILIES {
        let mut ward = ward(engine, family);
        let to = ward.port("web", &[]);
        ward.is_balanced(to);
        assert_eq!(told(&ward), Vec::<String>::new());
        let begun = Instant::now();
        ward.kill(0);
        let tally = traffic::connect(&ward.lab.client, to, 20);
        assert_eq!((tally.of("app2"), tally.errors.len()), (20, 0), "{tally:?}");
        ward.becomes(SOON, "web", ["ejected", "up"]);
        println!("{family:?}: ejected within {:?}", begun.elapsed());
        let shown = ward.agent.ctl_json(&["ports", "show", "web"]);
        assert_eq!(
            (&shown["state"], &shown["backends"]["up"]),
            (&"degraded".into(), &1.into())
        );
        let event = last_event(&ward, "backend_ejected");
        assert_eq!(event["address"], ward.app(0).to_string());
        assert!(
            event["text"].to_string().contains("connection refused"),
            "{event}"
        );
        assert!(
            ward.agent.log("node").contains("is ejected: "),
            "a line of the log"
        );
        ward.revive(0);
        ward.becomes(SOON, "web", ["up", "up"]);
        assert_eq!(told(&ward), ["backend_ejected", "backend_returned"]);
        let event = last_event(&ward, "backend_returned");
        assert!(event["text"].to_string().contains("it answers"), "{event}");
        ward.is_balanced(to);
    }
}

fn a_backend_that_falls_silent_is_ejected_and_the_first_is_the_first_again(engine: Engine) {
    for family in FAMILIES {
        let ward = ward(engine, family);
        let to = ward.port("web", &["policy=first"]);
        assert_eq!(traffic::connect(&ward.lab.client, to, 3).of("app1"), 3);
        ward.lab.apps[0].ip("link set eth0 down");
        assert_eq!(traffic::connect(&ward.lab.client, to, 2).of("app2"), 2);
        ward.becomes(SOON, "web", ["ejected", "up"]);
        let tally = traffic::connect(&ward.lab.client, to, 10);
        assert_eq!((tally.of("app2"), tally.errors.len()), (10, 0), "{tally:?}");
        let live = Live::open(&ward.lab.client, to, 4);
        ward.lab.apps[0].ip("link set eth0 up");
        if family == Family::V6 {
            // The kernel took the address away with the link.
            let address = ward.lab.app(family, 0);
            ward.lab.apps[0].ip(&format!("addr replace {address}/64 dev eth0 nodad"));
        }
        ward.becomes(SOON, "web", ["up", "up"]);
        assert_eq!(traffic::connect(&ward.lab.client, to, 3).of("app1"), 3);
        live.progress();
        let tally = live.finish();
        assert_eq!((tally.of("app2"), tally.errors.len()), (4, 0), "{tally:?}");
    }
}

fn an_error_about_one_clients_datagrams_moves_that_flow_alone(engine: Engine) {
    for family in FAMILIES {
        let ward = ward(engine, family);
        let to = ward.port("udp-game", &[]);
        let asker = Asker::new(&ward.lab.client, family);
        assert_eq!(asker.ask(to, b"who").unwrap(), "app1");
        let flow = &ward.agent.items(&["flows", "list"])[0];
        let source: SocketAddr = flow["source"].as_str().unwrap().parse().unwrap();
        ward.lab.apps[0].nft("add table inet strict");
        ward.lab.apps[0].nft("add chain inet strict in { type filter hook input priority 0; }");
        let refuse = format!("add rule inet strict in udp sport {} reject", source.port());
        ward.lab.apps[0].nft(&refuse);
        eventually(SOON, || {
            let answer = asker.try_ask(to, b"and now", std::time::Duration::from_millis(300));
            answer.is_some_and(|name| name == "app2")
        });
        let others = traffic::ask(&ward.lab.client, to, 10);
        assert_eq!(others.of("app1"), 10, "{others:?}");
        assert_eq!(asker.ask(to, b"still").unwrap(), "app2");
        ward.becomes(SOON, "udp-game", ["up", "up"]);
        assert_eq!(told(&ward), Vec::<String>::new());
    }
}

fn datagrams_that_two_clients_lose_eject_their_backend(engine: Engine) {
    for family in FAMILIES {
        let mut ward = ward(engine, family);
        let to = ward.port("udp-game", &[]);
        let inside = SocketAddr::new(ward.lab.translation(family), to.port());
        let clients = [(&ward.lab.client, to), (&ward.lab.apps[1], inside)];
        let clients = clients.map(|(host, to)| (Asker::new(host, family), to));
        for (asker, to) in &clients {
            assert_eq!(asker.ask(*to, b"who").unwrap(), "app1");
        }
        ward.kill(0);
        for (asker, to) in &clients {
            eventually(SOON, || {
                let answer = asker.try_ask(*to, b"and now", std::time::Duration::from_millis(300));
                answer.is_some_and(|name| name == "app2")
            });
        }
        eventually(SOON, || {
            told(&ward)
                .first()
                .is_some_and(|kind| kind == "backend_ejected")
        });
        let event = last_event(&ward, "backend_ejected");
        assert_eq!(event["address"], ward.app(0).to_string());
        // Nobody can ask it: its time has an end.
        eventually(SOON, || {
            told(&ward) == ["backend_ejected", "backend_returned"]
        });
    }
}

fn nobody_is_ejected_where_that_is_off_and_who_is_comes_back_when_it_is_turned_off(engine: Engine) {
    let mut ward = Ward::with(
        Family::V4,
        &format!("{}[policy]\npassive = \"off\"\n", engine.lines()),
    );
    let to = ward.port("web", &[]);
    ward.kill(0);
    let tally = traffic::connect(&ward.lab.client, to, 20);
    assert_eq!((tally.of("app2"), tally.errors.len()), (20, 0), "{tally:?}");
    assert_eq!(told(&ward), Vec::<String>::new());
    ward.becomes(SOON, "web", ["up", "up"]);
    let set = |value| ward.agent.ctl(&["config", "set", "policy.passive", value]);
    set("on").ok();
    eventually(SOON, || {
        traffic::connect(&ward.lab.client, to, 2);
        told(&ward) == ["backend_ejected"]
    });
    assert_eq!(set("perhaps").code, 2, "on or off");
    set("off").ok();
    ward.becomes(SOON, "web", ["up", "up"]);
    assert_eq!(told(&ward), ["backend_ejected", "backend_returned"]);
}

fn the_only_backend_is_never_ejected(engine: Engine) {
    for family in FAMILIES {
        let mut ward = ward(engine, family);
        let port = ward
            .agent
            .create(&["web", "--backend", &ward.app(0).to_string()]);
        let to = SocketAddr::new(ward.lab.public(family), port);
        ward.kill(0);
        assert_eq!(traffic::connect(&ward.lab.client, to, 3).errors.len(), 3);
        ward.revive(0);
        let tally = traffic::connect(&ward.lab.client, to, 5);
        assert_eq!((tally.of("app1"), tally.errors.len()), (5, 0), "{tally:?}");
        assert_eq!(told(&ward), Vec::<String>::new());
    }
}
