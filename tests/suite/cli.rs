//! The command line as scripts and people see it: names, exit codes, JSON, and the shape of errors.

use kit::{Agent, Finished, Lab, V4};

use crate::scene::Scene;

/// An error is on stderr, begins with `error:`, changes nothing and says nothing on stdout.
#[track_caller]
fn refused(finished: &Finished, codes: &[i32], parts: &[&str]) {
    assert!(
        codes.contains(&finished.code),
        "{}: {}",
        finished.code,
        finished.stderr
    );
    assert_eq!(finished.stdout, "");
    assert!(
        finished.stderr.starts_with("error: "),
        "{}",
        finished.stderr
    );
    assert!(
        !finished.stderr.contains(['\u{1b}', '\u{7}']),
        "{:?}",
        finished.stderr
    );
    for part in parts {
        assert!(
            finished.stderr.contains(part),
            "{part:?} is not in {}",
            finished.stderr
        );
    }
}

#[test]
fn a_created_port_is_one_item_with_the_fields_that_tools_rely_on() {
    let scene = Scene::routed();
    let created = scene.agent.ctl_json(&[
        "ports",
        "create",
        "both-sip",
        "--backend",
        &scene.app(0).to_string(),
    ]);
    let shown = scene.agent.ctl_json(&["ports", "show", "both-sip"]);
    for item in [&created, &shown] {
        assert_eq!(item["name"], "both-sip", "{item}");
        assert!(item["id"].is_string(), "{item}");
        assert!(
            (35_000..=40_000).contains(&item["port"].as_u64().unwrap()),
            "{item}"
        );
        assert_eq!(
            item["protocols"],
            serde_json::json!(["tcp", "udp"]),
            "{item}"
        );
        assert_eq!(item["state"], "up", "{item}");
        assert_eq!(item["backends"]["total"], 1, "{item}");
        assert_eq!(item["backends"]["up"], 1, "{item}");
        assert!(item["flows"].is_number(), "{item}");
        assert!(item["path"].is_string(), "{item}");
    }
}

#[test]
fn lists_say_what_they_are_a_list_of() {
    let scene = Scene::routed();
    scene.port("web");
    for (words, kind, count) in [
        (["ports", "list"], "PortList", 1),
        (["backends", "list"], "BackendList", 2),
        (["flows", "list"], "FlowList", 0),
    ] {
        let list = scene.agent.ctl_json(&words);
        assert_eq!(list["api_version"], "v1", "{list}");
        assert_eq!(list["kind"], kind, "{list}");
        assert_eq!(list["items"].as_array().unwrap().len(), count, "{list}");
    }
    let backends = scene.agent.items(&["backends", "list"]);
    assert_eq!(backends[0]["address"], scene.app(0).to_string());
    assert_eq!(backends[0]["state"], "up");
}

#[test]
fn a_port_is_named_by_number_number_and_protocol_name_or_id() {
    let scene = Scene::routed();
    let port = scene.port("web").port();
    let id = scene.agent.ctl_json(&["ports", "show", "web"])["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for name in [port.to_string(), format!("{port}/tcp"), "web".into(), id] {
        assert_eq!(
            scene.agent.ctl_json(&["ports", "show", &name])["port"],
            port,
            "{name}"
        );
    }
    refused(
        &scene.agent.ctl(&["ports", "show", "nobody"]),
        &[4],
        &["nobody"],
    );
    refused(
        &scene.agent.ctl(&["ports", "show", "39999"]),
        &[4],
        &["39999"],
    );
}

#[test]
fn the_name_decides_the_protocol_and_the_option_wins() {
    let scene = Scene::routed();
    for (words, protocols) in [
        (&["debug"][..], serde_json::json!(["tcp"])),
        (&["udp-dns"], serde_json::json!(["udp"])),
        (&["both-sip"], serde_json::json!(["tcp", "udp"])),
        (
            &["udp-not", "--protocol", "tcp"],
            serde_json::json!(["tcp"]),
        ),
        (
            &["plain", "--protocol", "both"],
            serde_json::json!(["tcp", "udp"]),
        ),
    ] {
        let created = scene
            .agent
            .ctl_json(&[&["ports", "create"], words].concat());
        assert_eq!(created["protocols"], protocols, "{words:?}");
    }
}

#[test]
fn bad_names_are_refused_and_shown_harmlessly() {
    let scene = Scene::routed();
    let long = "a".repeat(300);
    for name in [
        "",
        "two words",
        "new\nline",
        "\u{1b}[31mred",
        "umlaut\u{fc}",
        "slash/",
        "a\u{7}",
        &long,
    ] {
        refused(
            &scene.agent.ctl(&["ports", "create", name]),
            &[2],
            &["name"],
        );
    }
    scene.agent.ctl(&["ports", "create", &"a".repeat(64)]).ok();
    refused(
        &scene.agent.ctl(&["ports", "create", &"a".repeat(65)]),
        &[2],
        &["64"],
    );
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn a_name_that_is_taken_is_a_conflict() {
    let scene = Scene::routed();
    scene.port("web");
    refused(
        &scene.agent.ctl(&["ports", "create", "web"]),
        &[5],
        &["web", "fix:"],
    );
}

#[test]
fn bad_backends_are_refused_by_every_way_in() {
    let scene = Scene::routed();
    scene.agent.create(&["web"]);
    let own = format!("{}:9001", scene.lab.public(V4));
    for address in [
        "127.0.0.1:80",
        "169.254.169.254:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "0.0.0.0:80",
        "10.77.2.11:0",
        "10.77.2.11:70000",
        "10.77.2.11",
        "nonsense",
        "10.77.2:80",
        &own,
    ] {
        refused(
            &scene.agent.ctl(&["backends", "add", "web", address]),
            &[2, 5],
            &[],
        );
        let create = ["ports", "create", "other", "--backend", address];
        refused(&scene.agent.ctl(&create), &[2, 5], &[]);
    }
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    assert_eq!(scene.agent.items(&["backends", "list"]).len(), 0);
}

#[test]
fn a_bad_key_or_value_is_refused_with_the_choices_and_the_file_stays() {
    let scene = Scene::routed();
    let before = std::fs::read(scene.agent.config_file()).unwrap();
    for (key, value) in [
        ("no_such_key", "1"),
        ("ports.rnage", "1-2"),
        ("port_range", "9-1"),
        ("port_range", "x"),
        ("port_range", "0-99999"),
        ("log.level", "loud"),
        ("ports.rest", "soon"),
    ] {
        let finished = scene.agent.ctl(&["config", "set", key, value]);
        refused(&finished, &[2, 4], &[]);
    }
    assert_eq!(std::fs::read(scene.agent.config_file()).unwrap(), before);
    refused(
        &scene.agent.ctl(&["config", "get", "no.such"]),
        &[2, 4],
        &["no.such"],
    );
}

#[test]
fn a_wrong_configuration_stops_the_agent_with_file_line_and_column() {
    let lab = Lab::routed();
    let wrong = "[ports]\nrange = \"40000-35000\"\nrnage = 1\n[log]\nlevel = \"loud\"\n";
    let mut agent = Agent::configured(&lab, &kit::Config::with(wrong));
    agent.launch();
    assert_eq!(agent.wait_until_ended(), 2, "{}", agent.printed());
    let said = agent.printed();
    for part in [
        "harbor.toml:7:9",
        "harbor.toml:8:1",
        "harbor.toml:10:9",
        "rnage",
        "loud",
    ] {
        assert!(
            said.contains(part),
            "all errors at once, {part} is missing: {said}"
        );
    }
    assert!(!lab.bpf().exists(), "nothing was made");
}

#[test]
fn without_an_agent_the_exit_code_is_3_and_the_fix_is_named() {
    let lab = Lab::routed();
    let agent = Agent::configured(&lab, &kit::Config::default());
    for words in [
        &["status"][..],
        &["ports", "list"],
        &["ports", "create", "web"],
    ] {
        refused(&agent.ctl(words), &[3], &["harbor.sock", "fix:"]);
    }
    agent.ctl(&["version"]).ok();
}

#[test]
fn usage_errors_are_2() {
    let lab = Lab::routed();
    let agent = Agent::configured(&lab, &kit::Config::default());
    for words in [
        &["no-such-noun"][..],
        &["ports"],
        &["ports", "create"],
        &["ports", "list", "-o", "xml"],
    ] {
        let finished = agent.ctl(words);
        assert_eq!(finished.code, 2, "{words:?}: {}", finished.stderr);
        assert_eq!(finished.stdout, "");
    }
}

#[test]
fn destructive_verbs_need_yes_without_a_terminal() {
    let scene = Scene::routed();
    scene.port("web");
    let finished = scene.agent.ctl(&["ports", "delete", "web"]);
    refused(&finished, &[2], &["--yes"]);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
    scene.agent.ctl(&["ports", "delete", "web", "--yes"]).ok();
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 0);
}

#[test]
fn options_are_taken_before_and_after_the_noun() {
    let scene = Scene::routed();
    scene.port("web");
    let before = scene.agent.ctl(&["-o", "json", "ports", "list"]).ok();
    let after = scene.agent.ctl(&["ports", "list", "-o", "json"]).ok();
    assert_eq!(
        before.json()["items"][0]["name"],
        after.json()["items"][0]["name"]
    );
    let changed = scene
        .agent
        .ctl(&["config", "set", "ports.rest", "30s", "-o", "json"])
        .ok();
    assert_eq!(changed.json()["key"], "ports.rest", "{}", changed.stdout);
}

#[test]
fn status_names_every_part_its_state_and_the_fix() {
    let scene = Scene::routed();
    let healthy = scene.agent.ctl(&["status"]);
    for part in ["Agent", "Datapath", "Ports", "Registry", "Overall"] {
        assert!(
            healthy.stdout.contains(part),
            "{part} is missing: {}",
            healthy.stdout
        );
    }
    assert_eq!(healthy.code, 0, "{}{}", healthy.stdout, healthy.stderr);
    scene.agent.create(&["lonely"]);
    let degraded = scene.agent.ctl(&["status"]);
    assert_eq!(degraded.code, 7, "{}", degraded.stdout);
    assert!(degraded.stdout.contains("degraded"), "{}", degraded.stdout);
    assert!(
        degraded.stdout.contains("harbor-ctl ports show"),
        "{}",
        degraded.stdout
    );
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let scene = Scene::routed();
    for number in 0..5 {
        scene.agent.create(&[&format!("svc{number}")]);
    }
    let ctl = kit::binary("harbor-ctl");
    let line = format!(
        "{} --socket {} ports list | head -n 1",
        ctl.display(),
        scene.agent.socket().display()
    );
    let finished = kit::finish(scene.lab.node.command("sh").args(["-c", &line]));
    assert_eq!(finished.stderr, "");
    assert_eq!(finished.stdout.lines().count(), 1);
}

#[test]
fn the_table_shows_ports_as_the_manual_does() {
    let scene = Scene::routed();
    let port = scene.port("web").port().to_string();
    let table = scene.agent.ctl(&["ports", "list"]).ok().stdout;
    let mut lines = table.lines();
    let head = lines.next().unwrap();
    for column in [
        "PORT", "PROTO", "NAME", "BACKENDS", "FLOWS", "PATH", "STATE", "AGE",
    ] {
        assert!(head.contains(column), "{column} is missing: {head}");
    }
    let row = lines.next().unwrap();
    for cell in [port.as_str(), "tcp", "web", "2/2", "tc", "up"] {
        assert!(row.contains(cell), "{cell} is missing: {row}");
    }
}

#[test]
fn completions_are_written_for_every_shell() {
    let lab = Lab::routed();
    let agent = Agent::configured(&lab, &kit::Config::default());
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            agent
                .ctl(&["completions", shell])
                .ok()
                .stdout
                .contains("harbor-ctl")
        );
    }
}

#[test]
fn a_system_that_knows_no_authorities_can_ask_the_agent_all_the_same() {
    let scene = Scene::routed();
    let mut command = scene.lab.node.command(kit::binary("harbor-ctl"));
    // As where there is no package ca-certificates.
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.env(variable, "/nowhere");
    }
    command.arg("--socket").arg(scene.agent.socket());
    kit::finish(command.arg("status")).ok();
}
