//! `run`: the agent in the foreground, on this machine, with everything it writes in one folder.
//!
//! Leaves nothing behind: when the agent has ended, by Ctrl-C or by itself, the datapath is detached
//! and the bpffs unmounted. With `--lab` the machine's own interfaces are not touched at all.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{build, lab, shell};

/// How to run the agent.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// In namespaces of its own, with clients, app hosts and traffic
    #[arg(long)]
    lab: bool,
    /// Where to keep state, sockets, logs and pins; a temporary folder by default
    #[arg(long, value_name = "DIR", conflicts_with = "lab")]
    dir: Option<PathBuf>,
    /// Arguments for the agent (or, with --lab, for the lab)
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let rest: Vec<&str> = arguments.rest.iter().map(String::as_str).collect();
    if arguments.lab {
        return lab::program(&[&["demo"], &rest[..]].concat());
    }
    let ctl = build::program("harbor-ctl")?;
    let temporary = std::env::temp_dir().join(format!("harbor-run-{}", std::process::id()));
    let folder = arguments.dir.clone().unwrap_or(temporary.clone());
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(&folder)?;
    let folder = fs::canonicalize(&folder).with_context(|| folder.display().to_string())?;
    let config = configure(&folder)?;
    let result = mount(&folder.join("bpf")).and_then(|()| foreground(&ctl, &config, &rest));
    clean(&ctl, &config, &folder)?;
    if arguments.dir.is_none() {
        // The agent wrote here as root.
        shell::succeed(shell::privileged("rm", &[]).arg("-rf").arg(&temporary))?;
    }
    result
}

/// Writes a configuration that differs from the defaults only in its paths.
fn configure(folder: &Path) -> Result<PathBuf> {
    let below = |name: &str| folder.join(name).display().to_string();
    let text = format!(
        "[paths]\nrun = {:?}\nstate = {:?}\nlog = {:?}\nbpf = {:?}\n",
        below("run"),
        below("state"),
        below("log"),
        below("bpf/harbor"),
    );
    let config = folder.join("harbor.toml");
    if !config.exists() {
        fs::write(&config, text).with_context(|| config.display().to_string())?;
    }
    Ok(config)
}

fn mount(bpf: &Path) -> Result<()> {
    shell::succeed(shell::privileged("mkdir", &[]).arg("-p").arg(bpf))?;
    shell::succeed(
        shell::privileged("mount", &[])
            .args(["-t", "bpf", "bpf"])
            .arg(bpf),
    )
}

/// Runs the agent until it ends.
fn foreground(ctl: &Path, config: &Path, rest: &[&str]) -> Result<()> {
    let socket = config.with_file_name("run/harbor.sock");
    println!("run: the agent starts; Ctrl-C ends it. In another terminal:");
    println!("  {} --socket {} status", ctl.display(), socket.display());
    let mut command = shell::privileged(ctl, &[]);
    shell::foreground(command.arg("agent").arg("--config").arg(config).args(rest))
}

/// Detaches the datapath and unmounts, after the agent has ended.
fn clean(ctl: &Path, config: &Path, folder: &Path) -> Result<()> {
    let mut detach: Command = shell::privileged(ctl, &[]);
    detach
        .args(["datapath", "detach", "--yes", "--config"])
        .arg(config);
    shell::succeed(&mut detach)?;
    shell::succeed(shell::privileged("umount", &[]).arg(folder.join("bpf")))
}
