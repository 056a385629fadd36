//! What an operator looks at, and hands on: logs, a status that is watched, and the bundle for whoever helps.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command, time::Duration};

use kit::{Agent, Config, Lab, Process, binary, eventually, finish, patient};

use crate::scene::Scene;

const SECRETS: [(&str, &str); 3] = [
    ("control.token", "canary-token-of-operators-7731"),
    ("announce.token", "canary-token-of-app-hosts-7732"),
    ("gateway.password", "canary-password-of-platforms-7733"),
];

/// `harbor-ctl` with the agent's configuration.
fn ctl(agent: &Agent) -> Command {
    let mut command = agent.host().command(binary("harbor-ctl"));
    command.arg("--config").arg(agent.config_file());
    command
}

/// An agent whose secrets are canaries.
fn with_canaries() -> (Agent, Lab) {
    let lab = Lab::routed();
    let file = |name: &str| lab.folder().join(name);
    for (name, secret) in SECRETS {
        fs::write(file(name), format!("{secret}\n")).unwrap();
        fs::set_permissions(file(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = format!(
        "[control]\nlisten = \"127.0.0.1:8442\"\ntoken_file = {:?}\n[discovery]\ntoken_file = {:?}\n\
         [gateway]\nlisten = \"127.0.0.1:8443\"\npassword_file = {:?}\n",
        file(SECRETS[0].0),
        file(SECRETS[1].0),
        file(SECRETS[2].0),
    );
    (Agent::start_with(&lab, &Config::with(&text)), lab)
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let (mut agent, lab) = with_canaries();
    agent.create(&["web", "--backend", "10.77.2.11:80"]);
    // A canary that got into a log all the same is taken out.
    let log = agent.folder().join("log/harbor_node.log");
    let line = format!("2026-11-30T01:00:00.000001Z  INFO said {}\n", SECRETS[0].1);
    fs::write(&log, fs::read_to_string(&log).unwrap() + &line).unwrap();
    let file = lab.folder().join("one.tar");
    let made = finish(
        ctl(&agent)
            .args(["support", "bundle", "-o", "json", "--to"])
            .arg(&file),
    )
    .ok();
    assert_eq!(made.json()["file"], file.display().to_string());
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let bytes = fs::read(&file).unwrap();
    for (_, secret) in SECRETS {
        let found = bytes
            .windows(secret.len())
            .any(|part| part == secret.as_bytes());
        assert!(!found, "{secret} stands in it");
    }
    let folder = extracted(&file, lab.folder());
    is_complete(&folder);
    let again = finish(ctl(&agent).args(["support", "bundle", "--to"]).arg(&file));
    assert_eq!(again.code, 1, "another file is not written over");
    fs::write(&log, "").unwrap();

    assert_eq!(agent.stop(), 0);
    let file = lab.folder().join("two.tar");
    finish(ctl(&agent).args(["support", "bundle", "--to"]).arg(&file)).ok();
    fs::remove_dir_all(&folder).unwrap();
    let folder = extracted(&file, lab.folder());
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert!(
        text("status.json").starts_with("not there: "),
        "{}",
        text("status.json")
    );
    assert!(text("maps.json").contains("frontends"));
}

/// Every part of a bundle of an agent that runs has what it is for.
#[track_caller]
fn is_complete(folder: &Path) {
    let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    for (part, words) in [
        ("version.json", "\"layout\""),
        ("status.json", "\"overall\""),
        ("doctor.json", "\"interfaces\""),
        ("config.json", "metrics.listen"),
        ("ports.json", "\"web\""),
        ("backends.json", "10.77.2.11:80"),
        ("range.json", "35000-40000"),
        ("app-hosts.json", "items"),
        ("nodes.json", "items"),
        ("events.txt", "port_allocated"),
        ("metrics.txt", "harbor_build_info"),
        ("datapath.json", "\"pins\""),
        ("maps.json", "frontends"),
        ("programs.json", "sched_cls"),
        ("logs/node.log", "INFO said ***"),
        ("host/routes.txt", "10.77.2.0/24"),
    ] {
        assert!(text(part).contains(words), "{part}: {}", text(part));
    }
}

/// Unpacks by tar itself, which checks it.
fn extracted(file: &Path, to: &Path) -> std::path::PathBuf {
    let mut tar = Command::new("tar");
    finish(tar.arg("-xf").arg(file).arg("-C").arg(to)).ok();
    to.join("harbor-support")
}

#[test]
fn logs_are_shown_by_part_and_period_and_followed() {
    let scene = Scene::routed();
    let logs = |more: &[&str]| finish(ctl(&scene.agent).arg("logs").args(more));
    scene.agent.ctl(&["ports", "create", "web"]).ok();
    let node = logs(&["node", "--since", "10m"]).ok().stdout;
    assert!(
        node.contains("agent starts") && node.contains("method=POST"),
        "{node}"
    );
    let items = logs(&["-o", "json", "-n", "5"]).ok().json()["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 5);
    let times: Vec<&str> = items
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["time"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(logs(&["kernel"]).code, 2);

    let mut follow = ctl(&scene.agent);
    follow.args(["logs", "node", "-f", "-n", "0"]);
    let mut following = Process::start(&mut follow, scene.lab.folder(), "follow");
    // Until it looks at the end of the file nothing is its business.
    let mut number = 0;
    eventually(patient(Duration::from_secs(20)), || {
        assert!(following.is_running(), "{}", following.printed());
        number += 1;
        scene
            .agent
            .ctl(&["ports", "create", &format!("later-{number}")])
            .ok();
        following.printed().contains("later-")
    });
    let lost = scene.lab.folder().join("nowhere.toml");
    fs::write(&lost, "[paths]\nlog = \"/nowhere/at/all\"\n").unwrap();
    let mut command = Command::new(binary("harbor-ctl"));
    let nothing = finish(command.arg("--config").arg(&lost).arg("logs"));
    assert_eq!(nothing.code, 4, "{}", nothing.stderr);
}

#[test]
fn a_status_that_is_watched_tells_changes_and_outlives_the_agent() {
    let mut scene = Scene::routed();
    let mut watch = ctl(&scene.agent);
    watch.args(["status", "--watch"]);
    let mut watching = Process::start(&mut watch, scene.lab.folder(), "watch");
    let soon = patient(Duration::from_secs(20));
    eventually(soon, || watching.printed().contains("Overall   ok"));
    scene.agent.create(&["lonely"]);
    eventually(soon, || watching.printed().contains("Overall   degraded"));
    let ready = |scene: &Scene| finish(ctl(&scene.agent).args(["status", "--ready"]));
    assert_eq!(
        (ready(&scene).code, ready(&scene).stdout.as_str()),
        (0, "ready\n")
    );
    scene.agent.stop();
    eventually(soon, || watching.printed().contains("not running"));
    assert_eq!(ready(&scene).code, 3);
    let told = watching.printed().matches("Overall").count();
    scene.agent.restart();
    eventually(soon, || {
        watching.printed().matches("Overall").count() > told
    });
    assert!(watching.is_running());
}
