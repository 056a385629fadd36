//! `lint`: formatting and clippy, warnings being errors.

use anyhow::Result;

use crate::shell;

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
    println!("lint: clean");
    Ok(())
}
