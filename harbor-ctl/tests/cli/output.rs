//! What is printed, in which format, and where.

use std::process::Stdio;

use crate::rig::{Rig, command};

#[test]
fn a_port_is_one_item_with_the_fields_that_tools_rely_on() {
    let rig = Rig::with_range("33400-33409");
    let created = rig.json(&["ports", "create", "both-sip", "--backend", "10.0.0.1:80"]);
    let shown = rig.json(&["ports", "show", "both-sip"]);
    for item in [&created, &shown] {
        assert_eq!(item["name"], "both-sip");
        assert_eq!(item["id"].as_str().unwrap().len(), 36);
        assert_eq!(item["protocols"], serde_json::json!(["tcp", "udp"]));
        assert_eq!(item["backends"], serde_json::json!({"up": 1, "total": 1}));
        assert_eq!(item["flows"], 0);
    }
    let backend = &rig.items(&["backends", "list", "both-sip"])[0];
    assert_eq!(backend["address"], "10.0.0.1:80");
    assert_eq!(
        (&backend["state"], &backend["dea"]),
        (&"up".into(), &serde_json::Value::Null)
    );
    assert_eq!(backend["port"], shown["port"]);
}

#[test]
fn lists_say_what_they_are_a_list_of() {
    let rig = Rig::with_range("33410-33419");
    for (words, kind) in [
        (["ports", "list"], "PortList"),
        (["backends", "list"], "BackendList"),
        (["flows", "list"], "FlowList"),
    ] {
        let list = rig.json(&words);
        assert_eq!(
            list.to_string(),
            format!(r#"{{"api_version":"v1","items":[],"kind":"{kind}"}}"#)
        );
    }
}

#[test]
fn every_format_is_printed() {
    let rig = Rig::with_range("33420-33420");
    rig.create(&["web", "--backend", "10.0.0.1:80"]);
    let table = rig.ctl(&["ports", "list"]).ok().stdout;
    let mut lines = table
        .lines()
        .map(|l| l.split_whitespace().collect::<Vec<_>>());
    let heads = [
        "PORT", "PROTO", "NAME", "BACKENDS", "FLOWS", "RATE", "PATH", "STATE", "AGE",
    ];
    assert_eq!(lines.next().unwrap(), heads);
    let row = lines.next().unwrap();
    assert_eq!(
        row[..8],
        ["33420", "tcp", "web", "1/1", "0", "0", "proxy", "up"]
    );
    assert_eq!(
        rig.ctl(&["ports", "list", "--no-headers"])
            .ok()
            .stdout
            .lines()
            .count(),
        1
    );
    assert!(
        rig.ctl(&["ports", "list", "-o", "wide"])
            .ok()
            .stdout
            .contains("round-robin")
    );
    assert_eq!(
        rig.ctl(&["ports", "list", "-o", "name"]).ok().stdout,
        "web\n"
    );
    let yaml = rig.ctl(&["ports", "list", "-o", "yaml"]).ok().stdout;
    assert!(yaml.starts_with("api_version: \"v1\"\nitems:\n"), "{yaml}");
    let colored = rig.ctl(&["ports", "list", "--color", "always"]).ok().stdout;
    assert!(colored.contains("\u{1b}[32mup\u{1b}[0m"), "{colored:?}");
    assert!(!table.contains('\u{1b}'));
}

#[test]
fn a_port_is_named_by_number_protocol_name_or_id() {
    let rig = Rig::with_range("33430-33439");
    let port = rig.create(&["web"]);
    let id = rig.json(&["ports", "show", "web"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [port.to_string(), format!("{port}/tcp"), "web".into(), id] {
        assert_eq!(rig.json(&["ports", "show", &name])["port"], port, "{name}");
    }
    rig.create(&["udp-web", "--port", &port.to_string()]);
    rig.ctl(&["ports", "show", &port.to_string()])
        .refused(2, &["candidate:", "/udp udp-web", "fix:"]);
}

#[test]
fn errors_are_json_when_data_is() {
    let rig = Rig::with_range("33440-33449");
    let refused = rig.ctl(&["-o", "json", "ports", "show", "nobody"]);
    let body: serde_json::Value = serde_json::from_str(&refused.stderr).unwrap();
    assert_eq!(
        (refused.code, &body["error"], &body["field"]),
        (4, &"not_found".into(), &"port".into())
    );
    assert_eq!(refused.stdout, "");
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let rig = Rig::with_range("33450-33459");
    let mut command = command();
    command
        .arg("--config")
        .arg(rig.config())
        .args(["config", "show", "-o", "json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn version_and_completions_need_no_agent() {
    let rig = Rig::configured("");
    assert_eq!(rig.json(&["version"])["version"], env!("CARGO_PKG_VERSION"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            rig.ctl(&["completions", shell])
                .ok()
                .stdout
                .contains("harbor-ctl")
        );
    }
    let help = rig.ctl(&["ports", "create", "--help"]).ok().stdout;
    assert!(
        help.contains("Examples:") && help.contains("--protocol"),
        "{help}"
    );
}

#[test]
fn the_datapath_is_looked_at_without_an_agent() {
    let rig = Rig::configured("");
    for words in [
        &["datapath", "status"][..],
        &["datapath", "maps"],
        &["datapath", "dump"],
    ] {
        let finished = rig.ctl(words);
        assert_eq!(finished.code, 1, "{finished:?}");
        assert!(
            finished.stderr.contains(rig.path("bpf").to_str().unwrap()),
            "{finished:?}"
        );
    }
    rig.ctl(&["datapath", "detach"]).refused(2, &["--yes"]);
    let detached = rig.ctl(&["datapath", "detach", "--yes"]).ok();
    assert_eq!(detached.stdout, "nothing was attached\n");
}
