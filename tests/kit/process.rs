//! Child processes: each is killed with its guard, none can hang a test, and what they printed is
//! shown when the test fails.

use std::{
    env, fs,
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use nix::{
    sys::{
        prctl,
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};

use crate::until;

/// Long enough for any command of a test on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Clock ticks of a second in `/proc` (`USER_HZ`, the same on every machine that Harbor runs on).
const TICKS: u64 = 100;

/// Lets this process, which is all the clients of a test, have as many sockets as it may.
pub fn allow_many_descriptors() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
}

/// What a finished command left.
#[derive(Debug)]
pub struct Finished {
    /// The exit code; 128 + signal if a signal ended it.
    pub code: i32,
    /// All of its stdout.
    pub stdout: String,
    /// All of its stderr.
    pub stderr: String,
}

impl Finished {
    /// Itself, if the command succeeded; else a panic with all that it said.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(
            self.code == 0,
            "exit code {}\n{}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}{}", self.stdout, self.stderr))
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    finish_within(PATIENCE, command)
}

/// Runs a command to its end, which must come within the deadline.
#[track_caller]
pub fn finish_within(deadline: Duration, command: &mut Command) -> Finished {
    let shown = format!("{command:?}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{shown}: {error}"));
    let pid = Pid::from_raw(child.id().cast_signed());
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let readers = [
        thread::spawn(move || std::io::read_to_string(stdout)),
        thread::spawn(move || std::io::read_to_string(stderr)),
    ];
    let guard = KillOnDrop(pid);
    let status = until(deadline, || child.try_wait().unwrap());
    std::mem::forget(guard);
    let [stdout, stderr] = readers.map(|reader| {
        reader
            .join()
            .unwrap()
            .unwrap_or_else(|error| error.to_string())
    });
    Finished {
        code: code(status),
        stdout,
        stderr,
    }
}

/// Ends a command that ran out of time.
struct KillOnDrop(Pid);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A process that runs beside the test and ends with its guard.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it prints goes to `<folder>/<name>.out`.
    #[track_caller]
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Self {
        let log = folder.join(format!("{name}.out"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            name: name.into(),
            log,
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time that it has used, of user and system.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // What stands before the last parenthesis is its name.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS)
    }

    /// Memory that it keeps to itself, in KiB: what no file stands behind.
    pub fn memory(&self) -> u64 {
        let status = self.proc("status");
        let mut lines = status.lines();
        let kib = lines.find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = kib.and_then(|rest| rest.split_whitespace().next());
        kib.unwrap().parse().unwrap()
    }

    fn proc(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.id())).unwrap()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end and returns its exit code.
    #[track_caller]
    pub fn wait(&mut self, deadline: Duration) -> i32 {
        code(until(deadline, || self.child.try_wait().unwrap()))
    }

    /// All that it has printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Lets it outlive the test program.
    pub fn keep(self) {
        std::mem::forget(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- {} printed:\n{}---", self.name, self.printed());
        }
    }
}

/// Makes the command's process end when the thread that started it does, however that ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: prctl is safe between fork and exec; it allocates nothing and takes no lock.
    unsafe { command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)) };
}

/// A program of this workspace: `HARBOR_CTL` for `harbor-ctl`, else beside the test's own folder.
pub fn binary(name: &str) -> PathBuf {
    if let Some(path) = env::var_os(name.to_uppercase().replace('-', "_")) {
        return path.into();
    }
    let test = env::current_exe().unwrap();
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(name));
    found
        .into_iter()
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not built: run the tests by `cargo xtask test`"))
}
