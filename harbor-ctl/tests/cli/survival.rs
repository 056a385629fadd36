//! Restarts, kills, and a second agent.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::{
    refusals::request,
    rig::{Finished, Rig, command},
};

fn ports(rig: &Rig) -> Vec<String> {
    let keep = |i: &serde_json::Value| format!("{} {} {}", i["id"], i["port"], i["protocols"]);
    rig.items(&["ports", "list"]).iter().map(keep).collect()
}

#[test]
fn sigterm_ends_the_agent_within_5_s_and_a_restart_keeps_the_ports() {
    let mut rig = Rig::with_range("33300-33319");
    for name in ["web", "udp-game", "both-sip"] {
        rig.create(&[name, "--backend", "10.0.0.1:80"]);
    }
    let (before, backends) = (ports(&rig), rig.items(&["backends", "list"]));
    let (code, took) = rig.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{}", rig.printed());
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(!rig.path("run").join("harbor.sock").exists());
    rig.launch();
    assert_eq!(ports(&rig), before);
    assert_eq!(rig.items(&["backends", "list"]), backends);
}

#[test]
fn a_killed_agent_comes_back_with_every_acknowledged_port() {
    let mut rig = Rig::with_range("33320-33339");
    for round in 0..5 {
        for n in 0..3 {
            rig.create(&[&format!("s{round}-{n}")]);
        }
        let before = ports(&rig);
        rig.end(Signal::SIGKILL);
        rig.launch();
        assert_eq!(ports(&rig), before, "round {round}");
    }
}

#[test]
fn a_second_agent_is_refused_and_the_first_goes_on() {
    let rig = Rig::with_range("33340-33349");
    rig.create(&["web"]);
    let second = |flags: &[&str]| {
        let mut command = command();
        command
            .args(["agent", "--config"])
            .arg(rig.config())
            .args(flags);
        let output = command.output().unwrap();
        Finished {
            code: output.status.code().unwrap(),
            stdout: String::new(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    };
    let same = second(&[]);
    assert!(
        same.stderr.contains(&format!("pid {}", rig.pid())),
        "{same:?}"
    );
    same.refused(5, &["already runs", "fix:"]);
    // Other sockets, same state: the registry's own lock refuses.
    let run = format!("paths.run={}", rig.path("run2").display());
    let state = second(&["--set", &run]);
    assert_eq!(state.code, 5, "{state:?}");
    assert!(state.stderr.contains("harbor.redb"), "{state:?}");
    assert_eq!(rig.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_datapath_is_not_detached_under_a_running_agent() {
    let rig = Rig::with_range("33350-33359");
    rig.ctl(&["datapath", "detach", "--yes"])
        .refused(5, &["an agent runs", "fix:"]);
}

/// What `/readyz` answers.
fn ready(rig: &Rig) -> String {
    let socket = rig.path("run").join("harbor.sock");
    request(&socket, "GET /readyz HTTP/1.0\r\n\r\n")
}

/// These agents cannot load programs: their `[paths].bpf` is no bpffs.
#[test]
fn the_agent_says_that_the_proxy_forwards_alone() {
    let rig = Rig::with_range("33360-33369");
    rig.create(&["web", "--backend", "10.0.0.1:80"]);
    let item = rig.json(&["ports", "show", "web"]);
    assert_eq!(
        (&item["state"], &item["path"]),
        (&"up".into(), &"proxy".into())
    );
    let status = rig.ctl(&["status"]);
    assert_eq!(status.code, 7, "{status:?}");
    for part in [
        "Datapath  degraded",
        "the proxy forwards alone",
        "datapath.mode proxy",
    ] {
        assert!(status.stdout.contains(part), "{status:?}");
    }
    let wait = rig.ctl(&["status", "--wait", "--timeout", "300ms"]);
    wait.refused(8, &["degraded"]);
}

#[test]
fn an_agent_that_must_have_the_datapath_is_not_ready_without() {
    let range = "[ports]\nrange = \"33370-33379\"\n[datapath]\nmode = \"tc\"\n";
    let rig = Rig::start(range);
    assert!(rig.ctl(&["status"]).stdout.contains("Datapath  down"));
    assert!(ready(&rig).starts_with("HTTP/1.0 503"));
}

#[test]
fn an_agent_that_needs_no_datapath_is_well_without() {
    let range = "[ports]\nrange = \"33380-33389\"\n[datapath]\nmode = \"proxy\"\n";
    let rig = Rig::start(range);
    let status = rig.ctl(&["status"]).ok();
    assert!(
        status
            .stdout
            .contains("Datapath  ok        proxy, as configured")
    );
    assert!(ready(&rig).starts_with("HTTP/1.0 200"));
}
