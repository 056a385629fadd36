//! A real keepalived in a host of the lab, with the configuration that the agent has written for it.

use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::{Netns, process::Process};

/// A keepalived that ends with this guard.
#[derive(Debug)]
pub struct Keepalived {
    host: Netns,
    folder: PathBuf,
    name: String,
    process: Option<Process>,
}

impl Keepalived {
    /// Starts one with this configuration.
    #[track_caller]
    pub fn start(host: &Netns, folder: &Path, name: &str, text: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("keepalived.conf"), text).unwrap();
        let mut keepalived = Self {
            host: host.clone(),
            folder,
            name: name.to_owned(),
            process: None,
        };
        keepalived.launch();
        keepalived
    }

    /// Starts it again.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "it already runs");
        let mut command = self.host.command("keepalived");
        command.args(["--dont-fork", "--log-console", "--vrrp", "--use-file"]);
        command.arg(self.folder.join("keepalived.conf"));
        for (option, file) in [("--pid", "pid"), ("--vrrp_pid", "vrrp.pid")] {
            command.arg(option).arg(self.folder.join(file));
        }
        self.process = Some(Process::start(&mut command, &self.folder, &self.name));
    }

    /// Sends a signal to the process that speaks VRRP.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let pid = std::fs::read_to_string(self.folder.join("vrrp.pid")).unwrap();
        let pid = nix::unistd::Pid::from_raw(pid.trim().parse().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// What it has printed.
    pub fn printed(&self) -> String {
        self.process
            .as_ref()
            .map(Process::printed)
            .unwrap_or_default()
    }
}
