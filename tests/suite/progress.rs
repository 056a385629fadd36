//! What takes long says so on a terminal, and is silent in a pipe.

use std::{fs, process::Command, time::Duration};

use kit::{Finished, binary, finish_within, patient};

use crate::scene::Scene;

/// On a terminal of its own: all that it shows there.
fn on_terminal(line: &str) -> Finished {
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", line, "/dev/null"]);
    finish_within(
        patient(Duration::from_secs(120)),
        script.env("TERM", "xterm"),
    )
    .ok()
}

#[test]
fn long_commands_show_on_a_terminal_that_they_take_their_time_and_nothing_in_a_pipe() {
    let scene = Scene::routed();
    scene.port("web");
    let folder = scene.lab.folder();
    let document = folder.join("state.json");
    let exported = scene.agent.ctl(&["state", "export"]).ok();
    fs::write(&document, &exported.stdout).unwrap();
    let import = format!("state import {}", document.display());
    let socket = scene.agent.socket().display().to_string();
    for (words, shown) in [
        ("state export", "exporting"),
        (&*import, "importing 1 service"),
        ("state backup", "copying the registry"),
        ("datapath verify", "comparing the kernel's tables"),
    ] {
        let split: Vec<&str> = words.split(' ').collect();
        let piped = scene.agent.ctl(&split).ok();
        assert_eq!(piped.stderr, "", "{words}");
        assert!(!piped.stdout.contains(shown), "{words}: {}", piped.stdout);
        let program = binary("harbor-ctl").display().to_string();
        let output = folder.join("output");
        let line = format!("{program} --socket {socket} {words} > {}", output.display());
        let terminal = on_terminal(&line);
        assert!(
            terminal.stdout.contains(shown),
            "{words}: {}",
            terminal.stdout
        );
        // It is gone when it is done: the last that is sent clears the line.
        assert!(
            terminal.stdout.ends_with("\r\u{1b}[2K"),
            "{:?}",
            terminal.stdout
        );
        let quiet = on_terminal(&format!("{line} --quiet"));
        assert_eq!(quiet.stdout, "", "{words}");
    }
}

#[test]
fn building_the_package_shows_its_steps_on_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made");
    let line = format!(
        "HARBOR_CTL={} {} dist --profile dev --out {} > {}",
        binary("harbor-ctl").display(),
        binary("xtask").display(),
        folder.path().display(),
        made.display(),
    );
    let terminal = on_terminal(&line).stdout;
    for step in ["1 of 4", "collecting files", "packing", "3 of 4"] {
        assert!(terminal.contains(step), "{step}: {terminal}");
    }
    let made = fs::read_to_string(made).unwrap();
    assert_eq!(made.lines().count(), 2, "{made}");
}

/// Nobody can be told that they cannot be told: what was asked has its own exit code.
#[test]
fn words_that_nobody_can_read_change_no_exit_code() {
    let lab = kit::Lab::routed();
    let agent = kit::Agent::start(&lab);
    let program = binary("harbor-ctl").display().to_string();
    let socket = agent.socket().display().to_string();
    for (words, code) in [
        ("ports show nosuch", 4),
        ("ports frobnicate", 2),
        ("version", 0),
    ] {
        let script = format!("{program} --socket {socket} {words} 2> /dev/full > /dev/null");
        let mut shell = lab.node.command("sh");
        assert_eq!(
            kit::finish(shell.args(["-c", &script])).code,
            code,
            "{words}"
        );
    }
}
