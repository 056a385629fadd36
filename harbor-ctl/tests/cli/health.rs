//! Health checks as they are set, shown and refused; no backend is asked here.

use crate::{refusals::request, rig::Rig};

#[test]
fn a_check_is_set_as_text_or_as_an_object_and_shown_as_text() {
    let rig = Rig::with_range("33410-33419");
    let words = [
        "health=udp:ping\\n/pong",
        "health_port=9000",
        "health_interval_s=10",
        "health_timeout_s=1",
        "health_rise=1",
        "health_fall=4",
    ];
    let created = rig.json(&[&["ports", "create", "both-app"], &words[..]].concat());
    assert_eq!(created["settings"]["health"], "udp:ping\\n/pong");
    let shown = rig.ctl(&["ports", "show", "both-app"]).ok().stdout;
    assert!(shown.contains("health_fall=4"), "{shown}");

    let socket = rig.path("run").join("harbor.sock");
    let patch = |body: &str| {
        let length = body.len();
        let head = format!("PATCH /v1/ports/both-app HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        request(&socket, &format!("{head}{body}"))
    };
    let answer = patch(r#"{"health": {"type": "http", "path": "/up", "interval_s": 7}}"#);
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    let settings = &rig.json(&["ports", "show", "both-app"])["settings"];
    assert_eq!(settings["health"], "http:/up");
    assert_eq!(
        (&settings["health_interval_s"], &settings["health_fall"]),
        (&7.into(), &0.into()),
        "an object is the whole of it"
    );
    let before = settings.clone();
    for (body, word) in [
        (r#"{"health": {"type": "icmp"}}"#, "icmp"),
        (
            r#"{"health": {"type": "tcp", "path": "/"}}"#,
            "unknown_field",
        ),
        (r#"{"health": {"type": "tcp", "fall": 101}}"#, "health_fall"),
        (r#"{"health": ["tcp"]}"#, "health"),
        (r#"{"health": "tcp", "health_rise": -1}"#, "invalid"),
        (r#"{"drain_s": {"type": "tcp"}}"#, "drain_s"),
    ] {
        let answer = patch(body);
        assert!(answer.starts_with("HTTP/1.0 400"), "{body}: {answer}");
        assert!(answer.contains(word), "{body}: {answer}");
        let settings = &rig.json(&["ports", "show", "both-app"])["settings"];
        assert_eq!(*settings, before, "{body}");
    }
    rig.ctl(&["ports", "set", "both-app", "health=none"]).ok();
    let settings = &rig.json(&["ports", "show", "both-app"])["settings"];
    assert!(settings["health"].is_null());
}

#[test]
fn a_check_that_is_wrong_is_refused_and_changes_nothing() {
    let rig = Rig::with_range("33420-33429");
    rig.create(&["web"]);
    rig.create(&["udp-game"]);
    for (words, says) in [
        (&["web", "health=icmp"][..], "off, tcp, http:/PATH"),
        (&["web", "health=http:up"], "not a path"),
        (&["web", "health=http:/a b"], "not a path"),
        (&["web", "health=udp:x"], "asks for UDP"),
        (&["udp-game", "health=tcp"], "health_port=NUMBER"),
        (&["udp-game", "health=udp:"], "nothing to send"),
        (&["udp-game", r"health=udp:\q"], "after a"),
        (&["web", "health=tcp", "health_interval_s=9999"], "3600"),
        (&["web", "health=tcp", "health_timeout_s=21"], "20"),
        (
            &["web", "health=tcp", "health_status=2xx"],
            "no HTTP status",
        ),
        (
            &["web", "health=tcp", "health_status=204"],
            "health_status=none",
        ),
        (&["web", "health_interval=5"], "health_interval_s"),
    ] {
        let before = rig.json(&["ports", "show", words[0]])["settings"].clone();
        rig.ctl(&[&["ports", "set"], words].concat())
            .refused(2, &[says]);
        let after = &rig.json(&["ports", "show", words[0]])["settings"];
        assert_eq!(*after, before, "{words:?}");
    }
    rig.ctl(&["ports", "create", "udp-other", "health=http:/"])
        .refused(2, &["asks for TCP"]);
    assert_eq!(rig.items(&["ports", "list"]).len(), 2);
    rig.ctl(&["ports", "set", "udp-game", "health=tcp", "health_port=80"])
        .ok();
}

#[test]
fn the_nodes_own_rules_are_checked_like_the_ports() {
    // What is probed here is on loopback, where nobody listens.
    let allowed = "[policy]\nallow_networks = [\"127.0.0.1/32\"]";
    let rig = Rig::start(&format!("{allowed}\n[ports]\nrange = \"33430-33439\""));
    for (key, value) in [
        ("health.check", "icmp"),
        ("health.interval", "500ms"),
        ("health.interval", "2h"),
        ("health.timeout", "21s"),
        ("health.rise", "0"),
        ("health.fall", "101"),
        ("health.rate", "0"),
        ("health.all_down", "panic"),
    ] {
        rig.ctl(&["config", "set", key, value]).refused(2, &[key]);
    }
    rig.ctl(&["config", "set", "health.check", "tcp"]).ok();
    rig.ctl(&["config", "set", "health.interval", "30s"]).ok();
    rig.create(&["web", "--backend", "127.0.0.1:9"]);
    rig.create(&["udp-game", "--backend", "127.0.0.1:9"]);
    let text = "1 backend of 1 port probed";
    crate::rig::until("the agent follows", || {
        let status = rig.ctl(&["status", "-o", "json"]).json();
        let health = status["health"]["text"].as_str()?.to_owned();
        health.starts_with(text).then_some(())
    });
}
