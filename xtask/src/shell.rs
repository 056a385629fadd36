//! How xtask starts other programs: from the workspace's root, as root where needed, and with an
//! error that shows the command.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    libc,
    sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction},
    unistd::{Pid, geteuid},
};

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

/// Runs to the end and returns what it printed; stderr is passed through.
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

static ASKED_TO_END: AtomicBool = AtomicBool::new(false);

extern "C" fn remember(_signal: libc::c_int) {
    ASKED_TO_END.store(true, Ordering::Relaxed);
}

/// Runs a program that decides itself when to end: signals that would end xtask are passed on to it, so
/// that xtask is still there to clean up.
pub(crate) fn foreground(command: &mut Command) -> Result<()> {
    let action = SigAction::new(
        SigHandler::Handler(remember),
        SaFlags::empty(),
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only stores to an atomic, which is safe in a signal handler.
        unsafe { sigaction(signal, &action) }?;
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() && !asked {
                bail!("{} ended with {status}", shown(command));
            }
            return Ok(());
        }
        if ASKED_TO_END.load(Ordering::Relaxed) && !asked {
            asked = true;
            // Through sudo too, which passes signals on.
            kill(pid, Signal::SIGTERM)?;
        }
        thread::sleep(Duration::from_millis(50));
    }
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
