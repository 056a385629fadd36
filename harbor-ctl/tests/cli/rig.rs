//! An agent of its own in a temporary directory, and the command line pointed at it.

use std::{
    cell::Cell,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

/// Generous for a loaded machine; what is measured is measured by the test itself.
const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until the condition answers.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "not within {DEADLINE:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Finished {
    fn new(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// An error: this code, nothing on stdout, these words on stderr.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, words: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
        assert!(self.stderr.starts_with("error: "), "{self:?}");
        let is_plain = |c: char| c == '\n' || !c.is_control();
        assert!(self.stderr.chars().all(is_plain), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is missing: {self:?}");
        }
    }
}

/// A configured agent; killed with this guard.
pub(crate) struct Rig {
    directory: tempfile::TempDir,
    process: Option<Child>,
}

impl Rig {
    /// Writes a configuration; nothing runs yet.
    pub(crate) fn configured(more: &str) -> Self {
        own_network();
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mut text = String::from("[paths]\n");
        for (key, name) in [
            ("run", "run"),
            ("state", "state"),
            ("log", "log"),
            ("bpf", "bpf"),
        ] {
            text.push_str(&format!("{key} = {:?}\n", at(name)));
        }
        fs::write(at("harbor.toml"), text + more).unwrap();
        Self {
            directory,
            process: None,
        }
    }

    /// Starts an agent with more configuration, and waits for its socket.
    #[track_caller]
    pub(crate) fn start(more: &str) -> Self {
        let mut rig = Self::configured(more);
        rig.launch();
        rig
    }

    /// An agent whose ports come from this range and do not rest.
    #[track_caller]
    pub(crate) fn with_range(range: &str) -> Self {
        Self::start(&format!("[ports]\nrange = {range:?}\nrest = \"0s\"\n"))
    }

    #[track_caller]
    pub(crate) fn launch(&mut self) {
        self.spawn();
        until("the agent answers", || {
            if let Some(status) = self.process.as_mut().unwrap().try_wait().unwrap() {
                panic!("the agent ended with {status}: {}", self.printed());
            }
            [0, 7].contains(&self.ctl(&["status"]).code).then_some(())
        });
    }

    /// Starts the process and does not wait.
    pub(crate) fn spawn(&mut self) {
        let printed = fs::File::create(self.path("printed")).unwrap();
        let child = command()
            .args(["agent", "--config"])
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(printed.try_clone().unwrap())
            .stderr(printed)
            .spawn();
        self.process = Some(child.unwrap());
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("harbor.toml")
    }

    pub(crate) fn printed(&self) -> String {
        fs::read_to_string(self.path("printed")).unwrap_or_default()
    }

    pub(crate) fn log(&self, part: &str) -> String {
        fs::read_to_string(self.path("log").join(format!("harbor_{part}.log"))).unwrap()
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> Finished {
        let mut command = command();
        command.arg("--config").arg(self.config()).args(arguments);
        Finished::new(command.stdin(Stdio::null()).output().unwrap())
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        self.ctl(&[arguments, &["-o", "json"]].concat()).ok().json()
    }

    #[track_caller]
    pub(crate) fn items(&self, arguments: &[&str]) -> Vec<Value> {
        self.json(arguments)["items"].as_array().unwrap().clone()
    }

    /// Creates a port; answers its number.
    #[track_caller]
    pub(crate) fn create(&self, arguments: &[&str]) -> u16 {
        let item = self.json(&[&["ports", "create"], arguments].concat());
        u16::try_from(item["port"].as_u64().unwrap()).unwrap()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.as_ref().unwrap().id()).unwrap())
    }

    /// Sends a signal, waits for the end, answers exit code and time.
    #[track_caller]
    pub(crate) fn end(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let start = Instant::now();
        kill(self.pid(), signal).unwrap();
        let code = self.wait();
        (code, start.elapsed())
    }

    /// Waits for the end; answers the exit code.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        until("the agent ends", || process.try_wait().unwrap()).code()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent printed:\n{}---", self.printed());
        }
    }
}

thread_local! {
    /// Whether this test's thread has left the machine's network.
    static IN_OWN_NETWORK: Cell<bool> = const { Cell::new(false) };
}

/// Gives the test a network namespace of its own, with a loopback that is up: no connection that
/// somebody else opens can hold a number that the test counts on. The agent and the command line
/// inherit it. Whoever may not make namespaces stays where it is.
fn own_network() {
    if IN_OWN_NETWORK.replace(true) || unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return;
    }
    let mut up = Command::new("ip");
    let up = up.args(["link", "set", "lo", "up"]).status();
    assert!(up.is_ok_and(|status| status.success()), "ip, of iproute2");
}

/// `harbor-ctl` in an environment of its own.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harbor-ctl"));
    command.env_clear().env("RUST_BACKTRACE", "1");
    command
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
