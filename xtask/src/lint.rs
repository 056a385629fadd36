//! `lint`: formatting, clippy and the documentation of the code, warnings being errors; then spelling
//! and the dependencies' licences, bans and sources, where the tools for them are installed.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::shell;

/// A tool that cargo does not come with: its program, how to ask whether it is there, what it is to
/// do, and the crate that has it.
struct Tool {
    program: &'static str,
    arguments: &'static [&'static str],
    package: &'static str,
}

const TOOLS: [Tool; 2] = [
    Tool {
        program: "typos",
        arguments: &[],
        package: "typos-cli",
    },
    Tool {
        program: "cargo-deny",
        arguments: &["--locked", "check", "bans", "licenses", "sources"],
        package: "cargo-deny",
    },
];

pub(crate) fn run() -> Result<()> {
    shell::succeed(&mut shell::cargo(["fmt", "--all", "--check"]))?;
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ];
    shell::succeed(shell::cargo(clippy).env("HARBOR_EBPF", "require"))?;
    let documentation = [
        "doc",
        "--workspace",
        "--no-deps",
        "--document-private-items",
        "--locked",
    ];
    shell::succeed(shell::cargo(documentation).env("RUSTDOCFLAGS", "-D warnings"))?;
    let mut skipped = Vec::new();
    for tool in TOOLS {
        match is_installed(tool.program) {
            true => shell::succeed(
                Command::new(tool.program)
                    .args(tool.arguments)
                    .current_dir(shell::workspace()),
            )?,
            false => skipped.push(tool),
        }
    }
    for tool in &skipped {
        let (program, package) = (tool.program, tool.package);
        println!(
            "lint: {program} is not installed, so nothing was asked of it: cargo install --locked {package}"
        );
    }
    println!(
        "lint: {}",
        if skipped.is_empty() {
            "clean"
        } else {
            "clean as far as it went"
        }
    );
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let mut asked = Command::new(program);
    let asked = asked
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    asked.status().is_ok_and(|status| status.success())
}
