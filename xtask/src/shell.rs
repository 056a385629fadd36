//! How xtask starts other programs: from the workspace's root, as root where needed, and with an
//! error that shows the command.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::unistd::geteuid;

/// Variables that must survive sudo.
const KEPT: [&str; 6] = [
    "PATH",
    "HARBOR_CTL",
    "RUST_BACKTRACE",
    "RUST_TEST_THREADS",
    "TERM",
    "NO_COLOR",
];

/// The root of the workspace that xtask was built from.
pub(crate) fn workspace() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// The cargo that runs this xtask, in the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace()).args(arguments);
    command
}

/// A program to be run by root: as it is, or through sudo.
pub(crate) fn privileged(program: impl AsRef<OsStr>, variables: &[(&str, &OsStr)]) -> Command {
    let mut command;
    if geteuid().is_root() {
        command = Command::new(program);
        command.envs(variables.iter().copied());
        return command;
    }
    command = Command::new("sudo");
    command.arg("env");
    let inherited = KEPT
        .iter()
        .filter_map(|name| Some((*name, env::var_os(name)?)));
    let given = variables
        .iter()
        .map(|(name, value)| (*name, value.to_os_string()));
    for (name, value) in inherited.chain(given) {
        let mut assignment = std::ffi::OsString::from(name);
        assignment.push("=");
        assignment.push(value);
        command.arg(assignment);
    }
    command.arg(program);
    command
}

/// Runs to the end; anything but success is an error that shows the command.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// Runs to the end and hands on what it printed; stderr goes through.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", shown(command), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The first file of this name in PATH, or where root's tools live.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from);
    env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
