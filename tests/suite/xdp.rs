//! The programs at XDP: that they serve what they should, and that nobody notices where they should not.

use std::time::Duration;

use kit::{Config, Lab, eventually, finish, traffic};

use crate::{
    engines::Engine,
    scene::{FAMILIES, Scene},
};

const SOON: Duration = Duration::from_secs(10);
const BYTES: usize = 20 << 20;
const XDP: &str = "[datapath]\nmode = \"xdp\"\n";

/// Packets that the driver of one of the node's interfaces has handed to another one.
fn redirected(lab: &Lab, interface: &str) -> u64 {
    let mut ethtool = lab.node.command("ethtool");
    ethtool.args(["-S", interface]);
    let text = finish(&mut ethtool).ok().stdout;
    let lines = text.lines().filter(|line| line.contains("xdp_redirect:"));
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// Which interfaces have the program, as `datapath status` says.
fn attached(scene: &Scene) -> Vec<(String, bool, String)> {
    let report = scene.agent.ctl_json_whatever(&["datapath", "status"]);
    let rows = report["xdp"].as_array().unwrap().iter();
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap().to_owned();
    rows.map(|row| {
        let is_attached = row["attached"].as_bool().unwrap();
        (text(row, "interface"), is_attached, text(row, "reason"))
    })
    .collect()
}

#[track_caller]
fn transfer(scene: &Scene) {
    let to = scene.port("bulk");
    traffic::transfer(&scene.lab.client, to, BYTES).unwrap();
    scene.agent.ctl(&["ports", "delete", "bulk", "--yes"]).ok();
}

#[test]
fn packets_of_established_flows_never_reach_tc() {
    for family in FAMILIES {
        let scene = Engine::Xdp.routed().of(family);
        let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
        for interface in ["eth0", "eth1"] {
            assert!(scene.lab.xdp_link(interface).exists());
        }
        let live = traffic::Live::open(&scene.lab.client, web, 10);
        live.progress();
        let asker = traffic::Asker::new(&scene.lab.client, family);
        // Until the ways to both sides are known, packets go up.
        eventually(SOON, || {
            let before = ["eth0", "eth1"].map(|name| redirected(&scene.lab, name));
            for _ in 0..100 {
                assert_eq!(asker.ask(dns, b"who").unwrap(), "app1");
            }
            live.progress();
            let names = ["eth0", "eth1"].into_iter().zip(before);
            let mut taken = names.map(|(name, before)| redirected(&scene.lab, name) - before);
            taken.all(|taken| taken >= 100)
        });
        assert_eq!(live.finish().errors, Vec::<String>::new());
        for item in scene.agent.items(&["ports", "list"]) {
            assert_eq!(item["path"], "xdp", "{item}");
        }
        let status = scene.agent.ctl(&["status"]).ok().stdout;
        assert!(
            status.contains("tc on eth0 eth1, xdp native on eth0 eth1"),
            "{status}"
        );
        transfer(&scene);
    }
}

#[test]
fn a_virtual_interface_is_left_to_tc_unless_its_operator_insists() {
    let scene = Scene::routed();
    let rows = attached(&scene);
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (interface, is_attached, reason) in rows {
        assert!(
            !is_attached && reason.contains("no physical device"),
            "{interface}: {reason}"
        );
    }
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 0);
    let status = scene.agent.ctl(&["status"]).ok().stdout;
    assert!(!status.contains("xdp"), "{status}");
}

#[test]
fn frames_that_are_unfinished_or_leave_by_a_bridge_go_by_tc() {
    for family in FAMILIES {
        // Far ends that leave checksums to the device, as all virtual ones do.
        let scene = Scene::on(Lab::routed(), &Config::with(XDP)).of(family);
        transfer(&scene);
    }
    for family in FAMILIES {
        let lab = Lab::routed();
        lab.finish_frames();
        let backend_side = lab.translation(family);
        let length = if backend_side.is_ipv4() { 24 } else { 64 };
        lab.node.ip(&format!(
            "link add br0 type bridge mcast_snooping 0\nlink set br0 up\nlink set eth1 master br0\n\
             addr del {backend_side}/{length} dev eth1\n\
             addr add {backend_side}/{length} dev br0 nodad"
        ));
        let scene = Scene::on(lab, &Config::with(XDP)).of(family);
        let web = scene.port("web");
        let tally = traffic::connect(&scene.lab.client, web, 20);
        assert_eq!((tally.of("app1"), tally.of("app2")), (10, 10), "{tally:?}");
        let rows = attached(&scene);
        let bridge = rows
            .iter()
            .find(|(interface, ..)| interface == "br0")
            .unwrap();
        assert!(!bridge.1 && bridge.2.contains("no native XDP"), "{rows:?}");
        transfer(&scene);
        assert_eq!(redirected(&scene.lab, "eth0"), 0, "into the bridge");
    }
}

#[test]
fn frames_of_nine_thousand_octets_arrive_whole() {
    let lab = Lab::routed();
    lab.finish_frames();
    for (host, interface) in [
        (&lab.client, "eth0"),
        (&lab.node, "eth0"),
        (&lab.node, "eth1"),
        (&lab.apps[0], "eth0"),
        (&lab.apps[1], "eth0"),
    ] {
        host.ip(&format!("link set {interface} mtu 9000"));
    }
    lab.widen_switch(9_000);
    let mut scene = Scene::on(lab, &Config::with(XDP));
    for family in FAMILIES {
        scene = scene.of(family);
        transfer(&scene);
    }
    assert!(
        attached(&scene)
            .iter()
            .all(|(_, is_attached, _)| *is_attached)
    );
}

/// Swaps programs at XDP this often under load.
pub(crate) fn swap(rounds: usize, connections: usize) {
    let lab = Lab::routed();
    lab.finish_frames();
    let mut scene = Scene::on(lab, &Config::with(XDP));
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, connections);
    for round in 0..rounds {
        match round % 3 {
            // Replaced in place, with the one at TC.
            0 => {
                let level = ["debug", "off"][round / 3 % 2];
                scene
                    .agent
                    .ctl(&["config", "set", "log.datapath", level])
                    .ok();
            }
            // Taken away by somebody else, and attached again.
            1 => {
                let pin = scene.lab.xdp_link("eth0");
                let mut bpftool = scene.lab.node.command("bpftool");
                bpftool.args(["link", "detach", "pinned"]).arg(pin);
                finish(&mut bpftool).ok();
            }
            // Removed by the agent, and brought back by the next.
            _ => {
                for mode in ["tc", "xdp"] {
                    scene
                        .agent
                        .ctl(&["config", "set", "datapath.mode", mode])
                        .ok();
                    scene.agent.kill();
                    scene.agent.restart();
                    assert_eq!(scene.lab.xdp_link("eth0").exists(), mode == "xdp");
                }
            }
        }
        live.progress();
        let before = redirected(&scene.lab, "eth0");
        eventually(SOON, || {
            live.progress();
            redirected(&scene.lab, "eth0") > before
        });
    }
    let tally = live.finish();
    assert_eq!(tally.errors, Vec::<String>::new());
    scene.agent.kill();
    let file = scene.agent.config_file().display().to_string();
    scene
        .agent
        .ctl(&["datapath", "detach", "--yes", "--config", &file])
        .ok();
    for interface in ["eth0", "eth1"] {
        // The kernel lets a link go a moment after its last name.
        eventually(SOON, || {
            let mut ip = scene.lab.node.command("ip");
            let shown = finish(ip.args(["link", "show", interface])).ok().stdout;
            !shown.contains("xdp")
        });
    }
}

#[test]
fn programs_at_xdp_come_and_go_and_no_connection_notices() {
    swap(6, 20);
}
