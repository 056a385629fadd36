//! Network namespaces with names of their own, entered by setns and never by `ip netns exec`: that
//! mounts a new /sys and hides every bpffs.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read as _, Write},
    os::{fd::AsRawFd, unix::process::CommandExt},
    panic,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns, unshare},
};

use crate::process::{die_with_parent, finish};

/// Where `ip netns` keeps its names.
const NAMES: &str = "/run/netns";
/// What happens to mounts in it happens in every mount namespace.
const SHARED: MsFlags = MsFlags::MS_SHARED.union(MsFlags::MS_REC);

/// A network namespace; clones are the same one, and the last of them deletes it.
#[derive(Clone, Debug)]
pub struct Netns {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: String,
    handle: File,
    lifetime: Lifetime,
}

/// Whose end is the end of a namespace, and of the processes started in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The guard's; for a process the thread's that started it.
    Guard,
    /// Nobody's: somebody else takes it down.
    Lasting,
}

impl Netns {
    /// Makes a namespace of this name, with its loopback up.
    ///
    /// Not by `ip netns add`, so that this thread may be anywhere; the folder of names becomes what
    /// that would make of it.
    pub fn create(name: String, lifetime: Lifetime) -> Self {
        let path = Path::new(NAMES).join(&name);
        fs::create_dir_all(NAMES).unwrap();
        share_names();
        File::create_new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let own = Some("/proc/thread-self/ns/net");
            mount(own, &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        };
        thread::scope(|scope| scope.spawn(make).join()).unwrap();
        let netns = Self::open(name, lifetime);
        netns.ip("link set lo up");
        netns
    }

    /// A namespace that exists.
    pub fn open(name: String, lifetime: Lifetime) -> Self {
        let path = Path::new(NAMES).join(&name);
        let handle = File::open(&path)
            .unwrap_or_else(|error| panic!("no namespace {}: {error}", path.display()));
        Self {
            inner: Arc::new(Inner {
                name,
                handle,
                lifetime,
            }),
        }
    }

    /// Its name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Does something inside, in a thread of its own; threads started there stay inside.
    pub fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let inside = || {
            setns(&self.inner.handle, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        let result = thread::scope(|scope| scope.spawn(inside).join());
        result.unwrap_or_else(|payload| panic::resume_unwind(payload))
    }

    /// A command that will run inside, and end when the thread that starts it does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let inner = Arc::clone(&self.inner);
        let enter = move || {
            // SAFETY: a plain system call on a descriptor that `inner` keeps open.
            Errno::result(unsafe { libc::setns(inner.handle.as_raw_fd(), libc::CLONE_NEWNET) })?;
            Ok(())
        };
        // SAFETY: setns is safe between fork and exec; it allocates nothing and takes no lock.
        unsafe { command.pre_exec(enter) };
        if self.inner.lifetime == Lifetime::Guard {
            die_with_parent(&mut command);
        }
        command
    }

    /// Runs `ip` commands inside, one a line.
    ///
    /// Fault: datapath, health.
    #[track_caller]
    pub fn ip(&self, lines: &str) {
        batch(&mut self.command("ip"), lines);
    }

    /// Runs one line of `nft` inside.
    #[track_caller]
    pub fn nft(&self, line: &str) {
        finish(self.command("nft").arg(line)).ok();
    }

    /// Writes a sysctl, for example `net/ipv4/ip_forward`.
    pub fn set(&self, sysctl: &str, value: &str) {
        let path = Path::new("/proc/sys").join(sysctl);
        self.enter(|| fs::write(&path, value))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Reads a sysctl, in one call: the kernel cuts a list to the buffer of the first.
    pub fn get(&self, sysctl: &str) -> String {
        let path = Path::new("/proc/sys").join(sysctl);
        let mut text = vec![0; 256 * 1024];
        let length = self.enter(|| File::open(&path).and_then(|mut file| file.read(&mut text)));
        text.truncate(length.unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        String::from_utf8(text).unwrap().trim().into()
    }

    /// The index of one of its interfaces.
    pub fn ifindex(&self, interface: &str) -> u32 {
        self.enter(|| if_nametoindex(interface)).unwrap()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Guard {
            delete(&self.name);
        }
    }
}

/// Runs `ip` commands in one process.
#[track_caller]
pub(crate) fn batch(ip: &mut Command, lines: &str) {
    ip.args(["-batch", "-"]);
    let mut child = ip
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end at the first wrong line; what it says then tells more than the broken pipe.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip:\n{lines}\n{said}");
}

/// Makes the folder of names a shared mount while no name is in it, as the first `ip netns add` on a
/// machine does: later it would take copies of the mounts that are there, which nobody could remove.
fn share_names() {
    let folder = File::open(NAMES).unwrap();
    // Whoever comes first makes it; `ip` takes the same lock.
    let Ok(_alone) = Flock::lock(folder, FlockArg::LockExclusive) else {
        return;
    };
    let is_shared = || mount(None::<&str>, NAMES, None::<&str>, SHARED, None::<&str>);
    let is_empty = fs::read_dir(NAMES).is_ok_and(|mut names| names.next().is_none());
    if is_empty && is_shared().is_err() {
        let itself = Some(NAMES);
        mount(itself, NAMES, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        is_shared().unwrap();
    }
}

/// Deletes a namespace; its interfaces go with it.
pub(crate) fn delete(name: &str) {
    let path = Path::new(NAMES).join(name);
    let _ = umount2(&path, MntFlags::MNT_DETACH);
    let _ = fs::remove_file(path);
}

/// Names of the namespaces that begin like this.
pub(crate) fn named(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(prefix)).collect()
}
