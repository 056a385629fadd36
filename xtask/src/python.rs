//! Python programs that the suite starts, in an environment of their own below the target folder.
//!
//! All versions are pinned in `xtask/python.txt`. Nothing is installed into the machine's own Python.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use crate::shell;

const PINNED: &str = include_str!("../python.txt");
/// What Debian's Python needs to make environments.
pub(crate) const PACKAGE: &str = "python3-venv";

/// Where the environment is.
fn folder() -> PathBuf {
    shell::workspace().join("target").join("python")
}

/// A program of the environment.
pub(crate) fn program(name: &str) -> PathBuf {
    folder().join("bin").join(name)
}

/// Whether this machine's Python can make environments.
pub(crate) fn can_make() -> bool {
    let mut python = Command::new("python3");
    python.args(["-c", "import ensurepip, venv"]);
    let status = python.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Makes the environment, or makes it anew if other versions are wanted.
pub(crate) fn install() -> Result<()> {
    let (folder, note) = (folder(), folder().join("pinned.txt"));
    if fs::read_to_string(&note).is_ok_and(|made| made == PINNED) {
        return Ok(());
    }
    println!(
        "setup: Python's programs for the suite, into {}",
        folder.display()
    );
    let mut python = Command::new("python3");
    shell::succeed(python.args(["-m", "venv", "--clear"]).arg(&folder))?;
    let mut pip = Command::new(program("pip"));
    pip.args([
        "install",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
    ]);
    pip.arg("-r").arg(pins());
    shell::succeed(&mut pip)?;
    // Written last: half an environment does not count.
    fs::write(&note, PINNED).with_context(|| note.display().to_string())
}

fn pins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python.txt")
}
