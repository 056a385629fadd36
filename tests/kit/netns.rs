//! Network namespaces with names of their own, entered by setns and never by `ip netns exec`: that
//! mounts a new /sys and hides every bpffs.

use std::{
    fs::{self, File},
    io::Write,
    os::{fd::AsRawFd, unix::process::CommandExt},
    panic,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    libc,
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};

use crate::process::{die_with_parent, finish};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";

/// A network namespace that is deleted with its guard.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: Arc<File>,
    keeps: bool,
}

impl Netns {
    /// Makes a namespace of this name, with its loopback up.
    pub fn create(name: String) -> Self {
        finish(Command::new("ip").args(["netns", "add", &name])).ok();
        let mut netns = Self::open(name);
        netns.keeps = false;
        netns.ip("link set lo up");
        netns
    }

    /// A namespace that exists, and stays when this is dropped.
    pub fn open(name: String) -> Self {
        let path = Path::new(NAMES).join(&name);
        let handle = File::open(&path)
            .unwrap_or_else(|error| panic!("no namespace {}: {error}", path.display()));
        Self {
            name,
            handle: Arc::new(handle),
            keeps: true,
        }
    }

    /// The same namespace for another owner; dropping it deletes nothing.
    #[must_use]
    pub fn view(&self) -> Self {
        Self {
            name: self.name.clone(),
            handle: Arc::clone(&self.handle),
            keeps: true,
        }
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lets it stay when this is dropped.
    pub(crate) fn keep(&mut self) {
        self.keeps = true;
    }

    /// Does something inside, in a thread of its own; threads started there stay inside.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            setns(&*self.handle, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        let result = thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// A command that will run inside, and that ends when the thread that starts it does.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.lasting_command(program);
        die_with_parent(&mut command);
        command
    }

    /// A command that will run inside, however long.
    pub fn lasting_command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let handle = Arc::clone(&self.handle);
        let enter = move || {
            // SAFETY: a plain system call on a descriptor that `handle` keeps open.
            Errno::result(unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) })?;
            Ok(())
        };
        // SAFETY: setns is safe between fork and exec; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
        command
    }

    /// Runs `ip` commands inside, one a line.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        batch(&["-n", &self.name], lines);
    }

    /// Writes a sysctl, for example `net/ipv4/ip_forward`.
    pub fn set(&self, sysctl: &str, value: &str) {
        let path = Path::new("/proc/sys").join(sysctl);
        self.enter(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Reads a sysctl.
    pub fn get(&self, sysctl: &str) -> String {
        let path = Path::new("/proc/sys").join(sysctl);
        self.enter(|| fs::read_to_string(&path))
            .unwrap()
            .trim()
            .into()
    }

    /// The index of one of its interfaces.
    pub fn ifindex(&self, interface: &str) -> u32 {
        self.enter(|| if_nametoindex(interface)).unwrap()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if !self.keeps {
            let _ = Command::new("ip")
                .args(["netns", "del", &self.name])
                .status();
        }
    }
}

/// Runs `ip` commands in one process.
#[track_caller]
pub(crate) fn batch(options: &[&str], lines: &str) {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]);
    let mut child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {options:?}:\n{lines}\n{said}");
}

/// Names of the namespaces that begin like this.
pub(crate) fn named(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}
