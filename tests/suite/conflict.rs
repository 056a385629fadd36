//! Numbers that are taken: by another port, by another process, or all of them.

use std::time::Duration;

use kit::{Config, Lab, eventually, traffic};

use crate::scene::Scene;

fn small(range: &str) -> Config {
    Config::with(&format!("[ports]\nrange = {range:?}\nrest = \"0s\"\n"))
}

#[test]
fn fifty_of_a_hundred_numbers_held_by_another_process_leave_fifty_ports() {
    let lab = Lab::routed();
    let held: Vec<u16> = (35_000..35_100).step_by(2).collect();
    let holder = traffic::hold(&lab.node, lab.folder(), &held);
    let scene = Scene::on(lab, &small("35000-35099"));
    let mut created: Vec<u16> = (0..50)
        .map(|number| scene.agent.create(&[&format!("svc{number}")]))
        .collect();
    created.sort_unstable();
    assert_eq!(created, (35_001..35_100).step_by(2).collect::<Vec<u16>>());
    let refused = scene.agent.ctl(&["ports", "create", "svc50"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("50"),
        "the counts: {}",
        refused.stderr
    );
    assert!(refused.stderr.contains("fix:"), "{}", refused.stderr);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 50);
    drop(holder);
    let port = scene.agent.create(&["svc50"]);
    assert!(held.contains(&port), "{port} is free again");
}

#[test]
fn a_number_that_a_process_holds_is_refused_with_its_holder() {
    let scene = Scene::routed();
    let holder = traffic::hold(&scene.lab.node, scene.lab.folder(), &[35_500]);
    let refused = scene
        .agent
        .ctl(&["ports", "create", "web", "--port", "35500"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for part in [
        "35500/tcp",
        &holder.id().to_string(),
        "harbor-traffic",
        "fix:",
    ] {
        assert!(
            refused.stderr.contains(part),
            "{part} is not in {}",
            refused.stderr
        );
    }
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 0);
    // The other protocol of that number is free.
    scene
        .agent
        .ctl(&["ports", "create", "udp-web", "--port", "35500"])
        .ok();
}

#[test]
fn a_number_held_for_udp_is_refused_for_udp() {
    let scene = Scene::routed();
    let _holder = traffic::hold_udp(&scene.lab.node, scene.lab.folder(), &[35_501]);
    for name in ["udp-game", "both-sip"] {
        let refused = scene
            .agent
            .ctl(&["ports", "create", name, "--port", "35501"]);
        assert_eq!(refused.code, 5, "{name}: {}", refused.stderr);
        assert!(refused.stderr.contains("35501/udp"), "{}", refused.stderr);
    }
}

#[test]
fn a_number_that_is_assigned_or_out_of_range_is_refused() {
    let scene = Scene::routed();
    scene
        .agent
        .ctl(&["ports", "create", "web", "--port", "35123"])
        .ok();
    let assigned = scene
        .agent
        .ctl(&["ports", "create", "other", "--port", "35123"]);
    assert_eq!(assigned.code, 5, "{}", assigned.stderr);
    assert!(
        assigned.stderr.contains("web"),
        "it names the port's owner: {}",
        assigned.stderr
    );
    let outside = scene
        .agent
        .ctl(&["ports", "create", "other", "--port", "34999"]);
    assert!(
        [2, 5].contains(&outside.code),
        "{}: {}",
        outside.code,
        outside.stderr
    );
    assert!(outside.stderr.contains("35000-40000"), "{}", outside.stderr);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_full_range_is_a_clear_error_with_the_counts() {
    let scene = Scene::on(Lab::routed(), &small("35000-35004"));
    for number in 0..5 {
        scene.agent.create(&[&format!("svc{number}")]);
    }
    let refused = scene.agent.ctl(&["ports", "create", "svc5"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("35000-35004"), "{}", refused.stderr);
    // Half-used numbers: UDP is still free on all five, but no whole number is.
    let both = scene.agent.ctl(&["ports", "create", "both-sip"]);
    assert_eq!(both.code, 5, "{}", both.stderr);
    scene.agent.ctl(&["ports", "create", "udp-game"]).ok();
}

#[test]
fn a_changed_range_rules_the_next_draw_and_moves_no_port() {
    let scene = Scene::routed();
    let before = scene.agent.create(&["web"]);
    scene
        .agent
        .ctl(&["config", "set", "port_range", "36000-36001"])
        .ok();
    let drawn = [scene.agent.create(&["one"]), scene.agent.create(&["two"])];
    assert!(
        drawn.iter().all(|port| (36_000..=36_001).contains(port)),
        "{drawn:?}"
    );
    assert_eq!(
        scene.agent.ctl_json(&["ports", "show", "web"])["port"],
        before
    );
    let shown = scene
        .agent
        .ctl(&["config", "get", "harbor_node", "port_range"])
        .ok();
    assert_eq!(shown.stdout.trim(), "36000-36001");
}

#[test]
fn random_numbers_are_spread_over_the_range() {
    let scene = Scene::routed();
    let ports: Vec<u16> = (0..20)
        .map(|n| scene.agent.create(&[&format!("svc{n}")]))
        .collect();
    assert!(ports.iter().all(|port| (35_000..=40_000).contains(port)));
    // Twenty random numbers of 5,001 are in order once in 10^18.
    assert!(!ports.is_sorted(), "{ports:?}");
}

#[test]
fn a_number_that_a_rule_of_the_firewall_forwards_is_held_by_the_rule() {
    let scene = Scene::on(Lab::routed(), &small("35000-35009"));
    let node = &scene.lab.node;
    node.nft("add table ip nat");
    node.nft("add chain ip nat pre { type nat hook prerouting priority dstnat; }");
    node.nft("add rule ip nat pre tcp dport 35000-35008 dnat to 10.77.2.11:80");
    let create = |words: &[&str]| scene.agent.ctl(&[&["ports", "create"], words].concat());
    let refused = create(&["web", "--port", "35003"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    let rule = "ip nat pre handle 2";
    for part in ["35003/tcp", rule, "fix:", "nft delete rule"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    // The draw by chance passes them over; a moment later it knows of them for sure.
    eventually(Duration::from_secs(10), || {
        let drawn = create(&["web", "-o", "json"]).ok().json()["port"].clone();
        scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
        drawn == 35_009
    });
    assert_eq!(scene.agent.create(&["web"]), 35_009);
    let full = create(&["more"]);
    assert_eq!(full.code, 5, "{}", full.stderr);
    assert!(full.stderr.contains("9 held"), "{}", full.stderr);
    let range = scene.agent.ctl_json(&["ports", "range"]);
    assert!(range["held"].to_string().contains(rule), "{range}");
    create(&["udp-game", "--port", "35003"]).ok();
    node.nft("delete rule ip nat pre handle 2");
    create(&["more", "--port", "35003"]).ok();
    eventually(Duration::from_secs(30), || {
        let range = scene.agent.ctl_json(&["ports", "range"]);
        !range["held"].to_string().contains(rule)
    });
}
