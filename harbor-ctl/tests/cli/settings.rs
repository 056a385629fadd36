//! Settings of ports, weights of backends, and what is asked about flows and packets.

use crate::rig::Rig;

#[test]
fn settings_are_read_strictly_and_kept() {
    let rig = Rig::with_range("33140-33149");
    rig.create(&["web"]);
    let item = rig.json(&[
        "ports",
        "set",
        "web",
        "policy=first",
        "udp_policy=round-robin",
    ]);
    assert_eq!(
        (&item["policy"], &item["udp_policy"]),
        (&"first".into(), &"round-robin".into())
    );
    for setting in [
        "colour=red",
        "policy=random",
        "client_ip=proxy",
        "drain_s=x",
        "drain_s=999999",
        "policy",
    ] {
        rig.ctl(&["ports", "set", "web", setting]).refused(2, &[]);
    }
    rig.ctl(&["ports", "set", "web", "colour=red"])
        .refused(2, &["policy, udp_policy, allowed_cidrs"]);
    rig.ctl(&["ports", "set", "web", "max_conections=5"])
        .refused(2, &["did you mean max_connections?"]);
    assert_eq!(rig.json(&["ports", "show", "web"])["policy"], "first");
}

#[test]
fn every_setting_is_set_shown_and_put_back_the_same_way_at_creation_and_later() {
    let rig = Rig::with_range("33290-33299");
    let words = [
        "allowed_cidrs=10.0.0.0/8,2001:db8::/32",
        "denied_cidrs=10.1.0.0/16",
        "max_connections=100",
        "new_per_second=10",
        "packets_per_second=1000",
        "bytes_per_second=1000000",
        "policy=source-hash",
        "udp_policy=least-flows",
        "affinity_s=60",
        "idle_timeout_s=600",
        "drain_s=5",
        "reply_cap_bytes=4096",
        "client_ip=proxy-v2",
    ];
    let with = |start: &[&str]| {
        let all = [start, &words[..]].concat();
        rig.json(&all)["settings"].clone()
    };
    let created = with(&["ports", "create", "one"]);
    rig.create(&["two"]);
    assert_eq!(created, with(&["ports", "set", "two"]));
    assert_eq!(created["max_connections"], 100);
    assert_eq!(created["allowed_cidrs"][1], "2001:db8::/32");
    let text = rig.ctl(&["ports", "show", "one"]).ok().stdout;
    for word in &words[2..6] {
        assert!(text.contains(word), "{word} in {text}");
    }
    rig.ctl(&["ports", "set", "one", "max_connections=none", "affinity_s="])
        .ok();
    let settings = &rig.json(&["ports", "show", "one"])["settings"];
    assert_eq!(
        (&settings["max_connections"], &settings["affinity_s"]),
        (&0.into(), &0.into())
    );
    // All or nothing: the first of these is right.
    rig.ctl(&["ports", "set", "one", "affinity_s=5", "drain_s=x"])
        .refused(2, &["drain_s"]);
    assert_eq!(
        rig.json(&["ports", "show", "one"])["settings"]["affinity_s"],
        0
    );
}

#[test]
fn backends_of_both_families_have_names_and_weights() {
    let rig = Rig::with_range("33300-33309");
    rig.create(&["web", "--backend", "[fd00::5]:80"]);
    let add = ["backends", "add", "web", "10.0.0.1:80", "--weight", "3"];
    assert_eq!(rig.json(&add)["weight"], 3);
    let list = rig.items(&["backends", "list", "web"]);
    assert_eq!(list[0]["instance"], "fd00--5-80");
    assert_eq!(list[0]["address"], "[fd00::5]:80");
    assert_eq!(list[0]["weight"], 1);
    for weight in ["0", "101"] {
        rig.ctl(&["backends", "add", "web", "10.0.0.2:80", "--weight", weight])
            .refused(2, &[]);
    }
    rig.ctl(&["backends", "remove", "web", "[fd00::5]:80", "--now"])
        .ok();
    assert_eq!(rig.items(&["backends", "list", "web"]).len(), 1);
}

#[test]
fn flows_are_ended_only_when_it_is_said_which() {
    let rig = Rig::with_range("33310-33319");
    rig.create(&["web", "--backend", "10.0.0.1:80"]);
    rig.ctl(&["flows", "kill", "--yes"]).refused(2, &["--all"]);
    rig.ctl(&["flows", "kill", "--all"]).refused(2, &["--yes"]);
    rig.ctl(&["flows", "kill", "nobody", "--yes"])
        .refused(2, &["IP:PORT"]);
    rig.ctl(&["flows", "kill", "-p", "nobody", "--yes"])
        .refused(4, &["fix:"]);
    rig.ctl(&["flows", "kill", "--backend", "nobody", "--yes"])
        .refused(4, &["backends list"]);
    for words in [
        &["flows", "kill", "--all", "--yes"][..],
        &["flows", "kill", "-p", "web", "[2001:db8::7]:4000", "--yes"],
        &["flows", "kill", "--backend", "10.0.0.1-80", "--yes"],
    ] {
        assert_eq!(rig.json(words)["flows"], 0, "{words:?}");
    }
}

#[test]
fn a_packet_that_cannot_be_is_refused_before_anybody_is_asked() {
    let rig = Rig::with_range("33320-33329");
    let explain = |src: &str, dst: &str, more: &[&str]| {
        let words = ["explain", "--src", src, "--dst", dst];
        rig.ctl(&[&words[..], more].concat())
    };
    explain("198.51.100.7", "192.0.2.1:33320", &[]).refused(2, &["IP:PORT"]);
    explain("198.51.100.7:1", "[2001:db8::1]:33320", &[]).refused(2, &["family"]);
    explain(
        "198.51.100.7:1",
        "192.0.2.1:33320",
        &["--proto", "udp", "--flags", "syn"],
    )
    .refused(2, &["flags"]);
    explain("198.51.100.7:1", "192.0.2.1:33320", &["--flags", "psh"]).refused(2, &[]);
    // This agent has no datapath to ask: the proxy answers.
    let asked = explain("198.51.100.7:1", "192.0.2.1:33320", &["-o", "json"]).json();
    assert_eq!(asked["name"], "not-ours", "{asked}");
}
