//! Every command in a fenced block of the README or of docs/ is run, in order, in a lab that has the
//! addresses that the texts use.

use std::{collections::BTreeSet, fs, process::Command};

use kit::{Finished, binary, finish};

use super::{pages, root};
use crate::scene::Scene;

/// Commands that change the machine that the tests run on, or take as long as all tests. Their
/// spelling alone is checked; xtask's own are run by other tests and by CI.
const NOT_HERE: [&str; 2] = [
    "HARBOR_WRITE_DOCS=1 cargo xtask test lab -- reference_pages_are_current",
    "cargo install --locked --path harbor-ctl",
];

/// The lines of a page's fenced blocks that are commands.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("\n```").skip(1).step_by(2);
    let lines = blocks.flat_map(|block| block.lines().skip(1));
    let is_command = |line: &&str| {
        ["cargo ", "harbor-ctl ", "bpftool ", "HARBOR_"]
            .iter()
            .any(|first| line.starts_with(first))
    };
    let bare = |line: &str| {
        line.split(" #")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    lines.filter(is_command).map(bare).collect()
}

/// A command of the texts, as it is run in the lab.
fn run(scene: &mut Scene, line: &str) -> Finished {
    let bpf = scene.lab.bpf().display().to_string();
    let line = line.replace("/sys/fs/bpf/harbor", &bpf);
    let mut words = line.split_whitespace();
    let program = words.next().unwrap_or_default();
    let mut command = match program {
        "harbor-ctl" => scene.lab.node.command(binary("harbor-ctl")),
        other => scene.lab.node.command(other),
    };
    if program == "harbor-ctl" {
        command.arg("--config").arg(scene.agent.config_file());
    }
    finish(command.args(words))
}

#[test]
fn every_command_for_operators_works_as_it_is_shown() {
    let mut scene = Scene::routed();
    let mut count = 0;
    for page in pages() {
        for line in commands(&fs::read_to_string(&page).unwrap()) {
            if line.starts_with("cargo ") || line.starts_with("HARBOR_") {
                continue;
            }
            let is_detach = line.contains("datapath detach");
            if is_detach {
                scene.agent.stop();
            }
            let finished = run(&mut scene, &line);
            // `status` says with 7 that a port of the example has no backend.
            let allowed = if line == "harbor-ctl status" {
                &[0, 7][..]
            } else {
                &[0]
            };
            let said = format!("{}{}", finished.stdout, finished.stderr);
            assert!(
                allowed.contains(&finished.code),
                "{}: {line}\n{said}",
                page.display()
            );
            if is_detach {
                scene.agent.restart();
            }
            count += 1;
        }
    }
    assert!(count >= 15, "{count} commands");
}

#[test]
fn every_command_for_developers_is_spelt_right() {
    let mut seen = BTreeSet::new();
    for page in pages() {
        for line in commands(&fs::read_to_string(&page).unwrap()) {
            if NOT_HERE.contains(&line.as_str()) {
                seen.insert(line);
            } else if let Some(verb) = line.strip_prefix("cargo xtask ") {
                let words = verb
                    .split(" -- ")
                    .next()
                    .unwrap_or_default()
                    .split_whitespace();
                let mut command = Command::new(binary("xtask"));
                let finished = finish(command.args(words).arg("--help"));
                assert_eq!(finished.code, 0, "{line}\n{}", finished.stderr);
            } else if line.starts_with("cargo ") || line.starts_with("HARBOR_") {
                panic!(
                    "{} shows a command that nothing runs: {line}",
                    page.display()
                );
            }
        }
    }
    assert_eq!(seen.len(), NOT_HERE.len(), "only {seen:?} are still shown");
}

#[test]
fn ci_runs_the_command_of_the_readme() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    let command = ci
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("exec "))
        .unwrap();
    assert!(
        commands(&readme).iter().any(|shown| shown == command),
        "{command}"
    );
}
