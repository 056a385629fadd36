//! The real agent in the lab's node, and the real command line that talks to it.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    Lab, Netns,
    process::{Finished, Process, binary, finish},
    service_manager::hand_over,
    until,
};

/// The agent must serve its socket within this time.
const READY: Duration = Duration::from_secs(20);
/// SIGTERM ends the agent within 5 s by contract; the rest is the machine's.
const GONE: Duration = Duration::from_secs(10);

/// What a test wants configured differently.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the agent's folder; a second agent in one lab has another.
    pub name: String,
    /// `[paths].bpf`; the lab's own by default.
    pub bpf: Option<PathBuf>,
    /// TOML after `[paths]`.
    pub more: String,
    /// Environment variables for the process.
    pub variables: Vec<(String, String)>,
    /// Where it runs; by default on the lab's node.
    pub host: Option<Netns>,
    /// A program and its arguments that start the agent, as `setpriv` does.
    pub wrapper: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "agent".into(),
            bpf: None,
            more: String::new(),
            variables: Vec::new(),
            host: None,
            wrapper: Vec::new(),
        }
    }
}

impl Config {
    /// A configuration with these lines after `[paths]`.
    pub fn with(more: &str) -> Self {
        Self {
            more: more.into(),
            ..Self::default()
        }
    }
}

/// A configured agent; running or not. Killed with this guard.
#[derive(Debug)]
pub struct Agent {
    node: Netns,
    config: Config,
    folder: PathBuf,
    process: Option<Process>,
    /// Another program than the one under test.
    program: Option<PathBuf>,
    /// What the next process finds, with names.
    inherited: Vec<(String, OwnedFd)>,
}

impl Agent {
    /// Starts an agent with the default configuration, and waits until it answers.
    #[track_caller]
    pub fn start(lab: &Lab) -> Self {
        Self::start_with(lab, &Config::default())
    }

    /// Starts an agent with this configuration, and waits until it answers.
    #[track_caller]
    pub fn start_with(lab: &Lab, config: &Config) -> Self {
        let mut agent = Self::configured(lab, config);
        agent.launch();
        agent.wait_until_ready();
        agent
    }

    /// An agent that is not started yet.
    pub fn configured(lab: &Lab, config: &Config) -> Self {
        let folder = lab.folder().join(&config.name);
        fs::create_dir_all(&folder).unwrap();
        let below = |name: &str| folder.join(name).display().to_string();
        let bpf = config.bpf.clone().unwrap_or_else(|| lab.bpf());
        // It shall say whatever it can: what must not be said is looked for at the end.
        let level = match config.more.contains("[log]") {
            true => "",
            false => "[log]\nlevel = \"trace\"\n",
        };
        let text = format!(
            "[paths]\nrun = {:?}\nstate = {:?}\nlog = {:?}\nbpf = {:?}\n{}\n{level}",
            below("run"),
            below("state"),
            below("log"),
            bpf.display().to_string(),
            config.more,
        );
        fs::write(folder.join("harbor.toml"), text).unwrap();
        Self {
            node: config.host.clone().unwrap_or_else(|| lab.node.clone()),
            config: config.clone(),
            folder,
            process: None,
            program: None,
            inherited: Vec::new(),
        }
    }

    /// Has the next process find these descriptors, as systemd hands them over.
    pub fn inherit(&mut self, descriptors: Vec<(String, OwnedFd)>) {
        self.inherited = descriptors;
    }

    /// Has the next process run another program than the one under test.
    pub fn set_program(&mut self, program: Option<PathBuf>) {
        self.program = program;
    }

    /// Starts the process and does not wait.
    #[track_caller]
    pub fn launch(&mut self) {
        assert!(self.process.is_none(), "the agent already runs");
        let ctl = self.program.clone();
        let ctl = ctl.unwrap_or_else(|| binary("harbor-ctl"));
        let ctl = ctl.display().to_string();
        let listen = ["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"].map(str::to_owned);
        let inherits = !self.inherited.is_empty();
        let listen = listen.iter().filter(|_| inherits);
        let mut words = listen.chain(&self.config.wrapper).chain([&ctl]);
        let mut command = self.node.command(words.next().unwrap_or(&ctl));
        command
            .args(words)
            .arg("agent")
            .arg("--config")
            .arg(self.config_file());
        command
            .envs(self.config.variables.iter().cloned())
            .env("RUST_BACKTRACE", "1");
        if inherits {
            hand_over(&mut command, std::mem::take(&mut self.inherited));
        }
        self.process = Some(Process::start(
            &mut command,
            &self.folder,
            &self.config.name,
        ));
    }

    /// Has this program start it from now on, as [`Config::wrapper`] says.
    pub fn start_by(&mut self, wrapper: Vec<String>) {
        self.config.wrapper = wrapper;
    }

    /// Waits until the agent answers; panics with its output if it ends instead.
    #[track_caller]
    pub fn wait_until_ready(&mut self) {
        until(READY, || {
            assert!(
                self.is_running(),
                "the agent has ended:\n{}",
                self.printed()
            );
            // 0: all is well; 7: degraded, for example because a port has no backend.
            self.socket()
                .exists()
                .then(|| self.ctl(&["status"]).code)
                .filter(|c| [0, 7].contains(c))
        });
    }

    /// The running process.
    #[track_caller]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the agent is not started")
    }

    /// Whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Kills it as the kernel would: no handler runs.
    ///
    /// Fault: nodes.
    #[track_caller]
    pub fn kill(&mut self) {
        self.process().signal(Signal::SIGKILL);
        self.process().wait(GONE);
        self.process = None;
    }

    /// Halts the process where it is, as SIGSTOP does; it can only be killed from here.
    #[track_caller]
    pub fn freeze(&self) {
        let process = self.process.as_ref().expect("the agent is not started");
        process.signal(Signal::SIGSTOP);
    }

    /// Asks it to end, and returns its exit code.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.process().signal(Signal::SIGTERM);
        let code = self.process().wait(GONE);
        self.process = None;
        code
    }

    /// Waits for a process that is to end by itself, and returns its exit code.
    #[track_caller]
    pub fn wait_until_ended(&mut self) -> i32 {
        let code = self.process().wait(READY);
        self.process = None;
        code
    }

    /// Starts it again and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        self.launch();
        self.wait_until_ready();
    }

    /// Lets the process stay.
    pub fn keep(mut self) {
        if let Some(process) = self.process.take() {
            process.keep();
        }
    }

    /// Runs `harbor-ctl` against this agent.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> Finished {
        let mut command = self.node.command(binary("harbor-ctl"));
        command
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .env("NO_COLOR", "1");
        finish(&mut command)
    }

    /// Runs `harbor-ctl` with `-o json`, which must succeed.
    #[track_caller]
    pub fn ctl_json(&self, arguments: &[&str]) -> Value {
        self.ctl(&[arguments, &["-o", "json"]].concat()).ok().json()
    }

    /// The elements of one of its maps.
    #[track_caller]
    pub fn dump(&self, map: &str) -> Vec<Value> {
        let file = self.config_file();
        let file = file.to_str().expect("a path in UTF-8");
        let shown = self.ctl_json(&["datapath", "dump", map, "--config", file]);
        shown["items"].as_array().expect("elements").clone()
    }

    /// Runs `harbor-ctl` with `-o json` for what it prints, whatever it finds.
    #[track_caller]
    pub fn ctl_json_whatever(&self, arguments: &[&str]) -> Value {
        self.ctl(&[arguments, &["-o", "json"]].concat()).json()
    }

    /// Creates a port; the rest of the line as typed. Returns the number.
    #[track_caller]
    pub fn create(&self, arguments: &[&str]) -> u16 {
        let created = self.ctl_json(&[&["ports", "create"], arguments].concat());
        u16::try_from(created["port"].as_u64().expect("a port's number")).unwrap()
    }

    /// All of a list's items.
    #[track_caller]
    pub fn items(&self, arguments: &[&str]) -> Vec<Value> {
        self.ctl_json(arguments)["items"]
            .as_array()
            .expect("a list has items")
            .clone()
    }

    /// All that the process has printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.folder.join(format!("{}.out", self.config.name)))
            .unwrap_or_default()
    }

    /// One of its four log files, for example `node`.
    pub fn log(&self, part: &str) -> String {
        let path = self.folder.join("log").join(format!("harbor_{part}.log"));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// The host that it runs on.
    pub fn host(&self) -> &Netns {
        &self.node
    }

    /// Its control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("run").join("harbor.sock")
    }

    /// Its configuration.
    pub fn config_file(&self) -> PathBuf {
        self.folder.join("harbor.toml")
    }

    /// Its folder: `run`, `state`, `log`.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Agent {
    /// Secrets of the lab that stand in what this agent has written, each with its place.
    pub fn leaks(&self) -> Vec<(String, PathBuf)> {
        let secrets = secrets(self.folder.parent().unwrap_or(&self.folder));
        let logs = fs::read_dir(self.folder.join("log"));
        let logs = logs.into_iter().flatten().flatten().map(|log| log.path());
        let printed = self.folder.join(format!("{}.out", self.config.name));
        let mut leaks = Vec::new();
        for place in logs.chain([printed]) {
            let text = fs::read_to_string(&place).unwrap_or_default();
            let found = secrets.iter().filter(|secret| text.contains(*secret));
            leaks.extend(found.map(|secret| (secret.clone(), place.clone())));
        }
        leaks
    }
}

/// The secrets that a folder's files hold: tokens, passwords, and a line of each key.
fn secrets(folder: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = file.path();
        let line = match path.extension().and_then(|end| end.to_str()) {
            Some("token" | "password") => 0,
            Some("key") => 1,
            _ => continue,
        };
        let text = fs::read_to_string(&path).unwrap_or_default();
        secrets.extend(text.lines().nth(line).map(str::to_owned));
    }
    secrets
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // Whatever a test was about, at whatever level it logged.
            assert_eq!(self.leaks(), [], "secrets were written down");
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {}'s node log:\n{}---",
                self.config.name,
                abridged(&self.log("node"))
            );
        }
    }
}

/// The last lines of a log, and of each line its beginning: a verifier's log is one line of 60 kB.
fn abridged(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let cut = |line: &&str| line.chars().take(500).chain(['\n']).collect::<String>();
    lines[lines.len().saturating_sub(60)..]
        .iter()
        .map(cut)
        .collect()
}
