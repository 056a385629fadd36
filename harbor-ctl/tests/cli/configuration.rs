//! Configuration on the command line and at start.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::rig::{Rig, command, mode, until};

#[test]
fn a_wrong_configuration_stops_the_agent_with_every_error() {
    let mut rig =
        Rig::configured("[ports]\nrange = \"40000-35000\"\nrnage = 1\n[log]\nlevel = \"loud\"\n");
    rig.spawn();
    assert_eq!(rig.wait(), Some(2));
    let printed = rig.printed();
    for part in [
        "harbor.toml:7:9",
        "harbor.toml:8:1",
        "harbor.toml:10:9",
        "rnage",
        "range",
        "loud",
    ] {
        assert!(printed.contains(part), "{part} is missing: {printed}");
    }
    assert!(
        !rig.path("state").exists() && !rig.path("run").exists(),
        "nothing was made"
    );
}

#[test]
fn a_capability_that_is_missing_is_refused_by_name() {
    let mut rig = Rig::configured("[datapath]\nmode = \"dpdk\"\n");
    rig.spawn();
    assert_eq!(rig.wait(), Some(2));
    assert!(
        rig.printed().contains("this version does not have"),
        "{}",
        rig.printed()
    );
}

#[test]
fn a_missing_named_file_is_an_error() {
    let output = command()
        .args(["agent", "--config", "/nowhere/h.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/h.toml"));
}

#[test]
fn the_range_changes_while_the_agent_runs_and_assigned_ports_stay() {
    let rig = Rig::with_range("33200-33209");
    let port = rig.create(&["old"]);
    let shown = rig
        .ctl(&["config", "get", "harbor_node", "port_range"])
        .ok();
    assert_eq!(shown.stdout, "33200-33209\n");
    let set = rig
        .ctl(&["config", "set", "harbor_node", "port_range", "33210-33210"])
        .ok();
    assert!(
        set.stderr.contains(&format!("{port}/tcp old stays valid")),
        "{set:?}"
    );
    assert_eq!(rig.create(&["new"]), 33210);
    assert_eq!(rig.json(&["ports", "show", "old"])["port"], port);
    let range = rig.json(&["ports", "range"]);
    assert_eq!(range["outside"][0]["port"], port);
    assert_eq!(range["tcp"]["assigned"], 1);
    let text = fs::read_to_string(rig.config()).unwrap();
    assert!(text.contains("range = \"33210-33210\""), "{text}");
}

#[test]
fn a_bad_key_or_value_is_refused_and_the_file_stays() {
    let rig = Rig::with_range("33220-33229");
    let before = fs::read(rig.config()).unwrap();
    for (key, value) in [
        ("no_such_key", "1"),
        ("ports.rnage", "1-2"),
        ("port_range", "9-1"),
        ("port_range", "20000-30000"),
        ("log.level", "loud"),
        ("ports.rest", "soon"),
        ("datapath.mode", "dpdk"),
    ] {
        rig.ctl(&["config", "set", key, value]).refused(2, &[]);
    }
    rig.ctl(&["config", "set", "ports.rnage", "1"])
        .refused(2, &["did you mean ports.range"]);
    rig.ctl(&["config", "get", "no.such"])
        .refused(2, &["no.such"]);
    assert_eq!(fs::read(rig.config()).unwrap(), before);
}

#[test]
fn a_key_that_needs_a_restart_says_so() {
    let rig = Rig::with_range("33230-33239");
    let set = rig.ctl(&["config", "set", "datapath.flows", "4096"]).ok();
    assert!(set.stderr.contains("restart"), "{set:?}");
    let shown = rig.ctl(&["config", "show"]).ok().stdout;
    assert!(
        shown.contains("flows = 4096  # in force after a restart"),
        "{shown}"
    );
    let origins = rig.ctl(&["config", "show", "--origin"]).ok().stdout;
    assert!(origins.contains("keep = 14  # default"), "{origins}");
    assert!(origins.contains("harbor.toml:"), "{origins}");
}

#[test]
fn without_an_agent_the_file_is_read_and_written() {
    let rig = Rig::configured("# kept\n[log]\nkeep = 3 # days\n");
    assert_eq!(rig.ctl(&["config", "get", "log.keep"]).ok().stdout, "3\n");
    rig.ctl(&["config", "set", "log.keep", "4"]).ok();
    let text = fs::read_to_string(rig.config()).unwrap();
    assert!(text.ends_with("# kept\n[log]\nkeep = 4 # days\n"), "{text}");
}

#[test]
fn a_hangup_reads_the_file_again() {
    let rig = Rig::with_range("33240-33249");
    let text = fs::read_to_string(rig.config())
        .unwrap()
        .replace("33240-33249", "33250-33259");
    fs::write(rig.config(), text).unwrap();
    kill(rig.pid(), Signal::SIGHUP).unwrap();
    until("the new range is in force", || {
        (rig.json(&["ports", "range"])["range"] == "33250-33259").then_some(())
    });
    fs::write(rig.config(), "nonsense").unwrap();
    kill(rig.pid(), Signal::SIGHUP).unwrap();
    until("the error is logged", || {
        rig.log("node").contains("nothing changed").then_some(())
    });
}

#[test]
fn environment_and_flags_are_stronger_than_the_file() {
    let rig = Rig::configured("[log]\nkeep = 3\n");
    let mut command = command();
    command
        .arg("--config")
        .arg(rig.config())
        .args(["config", "get", "log.keep"]);
    let output = command.env("HARBOR_LOG__KEEP", "9").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "9\n");
    let output = command.env("HARBOR_LOG__KEPE", "9").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean keep"));
}

#[test]
fn files_and_directories_have_their_modes() {
    let rig = Rig::with_range("33260-33269");
    assert_eq!(mode(&rig.path("state")), 0o700);
    assert_eq!(mode(&rig.path("run").join("harbor.sock")), 0o660);
    for part in ["gateway", "node", "proxy_connector", "redis"] {
        assert!(
            rig.path("log").join(format!("harbor_{part}.log")).exists(),
            "{part}"
        );
    }
    assert!(rig.log("gateway").contains("no gateway"));
    assert!(rig.log("redis").contains("harbor.redb"));
    rig.create(&["web"]);
    until("the change is audited", || {
        rig.log("node").contains("uid=").then_some(())
    });
}

#[test]
fn a_value_is_taken_back_with_its_comments_kept() {
    let rig = Rig::start("[ports]\nrest = \"5s\"\n# why so few\nrange = \"33200-33209\" # few\n");
    let said = rig
        .ctl(&["config", "unset", "harbor_node", "port_range"])
        .ok();
    assert!(said.stderr.contains("in force"), "{}", said.stderr);
    let shown = rig.json(&["config", "get", "ports.range"]);
    assert_eq!(
        (&shown["value"], &shown["origin"]),
        (&"35000-40000".into(), &"default".into())
    );
    let text = fs::read_to_string(rig.config()).unwrap();
    assert!(
        text.ends_with("rest = \"5s\"\n# why so few\n# few\n"),
        "{text}"
    );
    let number = rig.create(&["web"]);
    assert!((35_000..=40_000).contains(&number));
    // What is out already is out.
    rig.ctl(&["config", "unset", "ports.range"]).ok();
    assert_eq!(rig.ctl(&["config", "unset", "ports.rnage"]).code, 2);
}

#[test]
fn without_an_agent_the_file_is_edited_and_keys_are_explained() {
    let rig = Rig::configured("[log]\nkeep = 3 # days\n");
    let explained = rig.ctl(&["config", "explain", "log.keep"]).ok();
    for part in [
        "1 to 3650",
        "14",
        "harbor.toml:7:8",
        "when the agent starts",
    ] {
        assert!(
            explained.stdout.contains(part),
            "{part}: {}",
            explained.stdout
        );
    }
    let json = rig.json(&["config", "explain", "ports.rest"]);
    assert!(json["valid"].as_str().unwrap().contains("30s"), "{json}");
    rig.ctl(&["config", "unset", "log.keep"]).ok();
    assert!(
        fs::read_to_string(rig.config())
            .unwrap()
            .ends_with("[log]\n# days\n")
    );
}
