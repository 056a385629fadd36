//! A real Redis in a host of the lab. Debian's redis-tools holds the server as well; it goes by the
//! name it is called by.

use std::{
    net::SocketAddr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::{
    Netns, eventually,
    process::{Finished, Process, finish},
};

/// The server answers within this time.
const READY: Duration = Duration::from_secs(20);

/// A server that ends with this guard. What it holds is gone when it is killed: it writes nothing.
#[derive(Debug)]
pub struct Redis {
    host: Netns,
    address: SocketAddr,
    folder: PathBuf,
    more: Vec<String>,
    process: Option<Process>,
}

impl Redis {
    /// Starts a server that listens at this address of the host, and waits until it answers.
    #[track_caller]
    pub fn start(host: &Netns, folder: &Path, address: SocketAddr) -> Self {
        Self::start_with(host, folder, address, &[])
    }

    /// The same with more arguments for the server.
    #[track_caller]
    pub fn start_with(host: &Netns, folder: &Path, address: SocketAddr, more: &[&str]) -> Self {
        let mut redis = Self {
            host: host.clone(),
            address,
            folder: folder.into(),
            more: more.iter().map(|&word| word.into()).collect(),
            process: None,
        };
        redis.restart();
        redis
    }

    /// Starts it anew, empty.
    #[track_caller]
    pub fn restart(&mut self) {
        self.launch();
        // One that wants a password says so, which is an answer too.
        let answers = |said: &str| said == "PONG\n" || said.starts_with("NOAUTH");
        eventually(READY, || answers(&self.say(&["ping"]).stdout));
    }

    /// Starts it and does not wait.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the server already runs");
        let mut command = self.host.command("redis-check-rdb");
        command.arg0("redis-server").current_dir(&self.folder);
        // A Sentinel writes what it learns into its configuration, which comes first.
        command.args(self.more.iter().take_while(|word| word.ends_with(".conf")));
        command.args(["--save", "", "--protected-mode", "no"]);
        command.args(["--port", &self.address.port().to_string()]);
        command.args(["--bind", &self.address.ip().to_string()]);
        command.args(self.more.iter().skip_while(|word| word.ends_with(".conf")));
        let name = format!("redis-{}", self.address.port());
        self.process = Some(Process::start(&mut command, &self.folder, &name));
    }

    /// Kills it; what it held is gone.
    ///
    /// Fault: registry, discovery.
    #[track_caller]
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the server is not started");
        process.signal(Signal::SIGKILL);
        process.wait(READY);
    }

    /// Halts it where it is, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("the server is not started");
        process.signal(signal);
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let process = self.process.as_ref().expect("the server is not started");
        process.cpu()
    }

    /// Runs one command by redis-cli, on the server's own host.
    #[track_caller]
    pub fn say(&self, words: &[&str]) -> Finished {
        let mut command = self.host.command("redis-cli");
        command.args(["-h", &self.address.ip().to_string()]);
        command.args(["-p", &self.address.port().to_string()]);
        finish(command.args(words))
    }

    /// Many commands at once, one a line, quoted as redis-cli reads them.
    #[track_caller]
    pub fn say_all(&self, lines: &str) {
        let file = self.folder.join("commands");
        std::fs::write(&file, lines).unwrap();
        let mut command = self.host.command("sh");
        command.arg("-c").arg(format!(
            "redis-cli -h {} -p {} < {} > /dev/null",
            self.address.ip(),
            self.address.port(),
            file.display()
        ));
        finish(&mut command).ok();
    }

    /// What `[registry].url` says.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The configuration of a node that keeps its ports here, and has time for an answer: a busy
    /// machine is no fault.
    pub fn config(&self, node: &str) -> String {
        self.config_within(node, "5s")
    }

    /// The same for a node that waits so long for an answer.
    pub fn config_within(&self, node: &str, timeout: &str) -> String {
        format!(
            "[node]\nid = {node:?}\n[registry]\nurl = \"{}\"\ntimeout = {timeout:?}\n",
            self.url()
        )
    }
}
