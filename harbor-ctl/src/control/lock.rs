//! One agent per run directory: a lock on `agent.lock`, with the holder's process id inside.

use std::{
    fs::{self, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Whoever can read a file can lock it.
const MODE: u32 = 0o600;
/// How often a file is opened anew that was replaced meanwhile.
const TRIES: usize = 8;

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("an agent already runs: {0}")]
    Held(String),
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Holds the lock as long as it lives; the kernel releases it when the process dies.
#[derive(Debug)]
pub(crate) struct AgentLock {
    _file: File,
}

/// Takes the lock, or says who has it. A lock of another user's process is no agent's: the file is
/// made anew, which nobody else can open.
pub(crate) fn take(run: &Path) -> Result<AgentLock, LockError> {
    let path = run.join("agent.lock");
    let cannot = |source| LockError::Io {
        path: path.clone(),
        source,
    };
    for _ in 0..TRIES {
        let mut file = open(&path).map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if is_strangers(&file) => {
                fs::remove_file(&path).map_err(cannot)?;
                continue;
            }
            Err(TryLockError::WouldBlock) => return Err(held(&path, file)),
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
        }
        if !is_at(&file, &path) {
            continue;
        }
        let mut write = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(cannot)?;
        return Ok(AgentLock { _file: file });
    }
    Err(cannot(io::Error::other("others make it anew all the time")))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(MODE).open(path)?;
    // An earlier version let everybody read it, and whoever can read can lock.
    file.set_permissions(Permissions::from_mode(MODE))?;
    Ok(file)
}

fn held(path: &Path, mut file: File) -> LockError {
    let mut holder = String::new();
    let _ = file.read_to_string(&mut holder);
    LockError::Held(match holder.trim().parse::<u32>() {
        Ok(pid) => format!("pid {pid} holds {}", path.display()),
        Err(_) => format!("somebody holds {}", path.display()),
    })
}

/// Whether the file is still the one that others find.
fn is_at(file: &File, path: &Path) -> bool {
    let both = file
        .metadata()
        .and_then(|own| Ok((own, fs::metadata(path)?)));
    both.is_ok_and(|(own, there)| (own.dev(), own.ino()) == (there.dev(), there.ino()))
}

/// Whether processes of other users have the lock, and they alone, as far as /proc tells.
fn is_strangers(file: &File) -> bool {
    let Ok(locks) = fs::read_to_string("/proc/locks") else {
        return false;
    };
    let inode = file.metadata().map(|own| own.ino()).unwrap_or_default();
    let holders: Vec<u32> = holders(&locks, inode).collect();
    let own = nix::unistd::geteuid().as_raw();
    !holders.is_empty()
        && holders
            .iter()
            .all(|pid| uid(*pid).is_some_and(|uid| uid != own))
}

/// The processes that hold this inode by flock(2): `1: FLOCK ADVISORY READ 4121 08:01:1234 0 EOF`.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = u32> {
    locks.lines().filter_map(move |line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words.as_slice() else {
            return None;
        };
        let is_it = place.rsplit(':').next()?.parse() == Ok(inode);
        is_it.then(|| pid.parse().ok()).flatten()
    })
}

/// The user of a process, which it cannot hide.
fn uid(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether an agent runs on this directory; whoever may not look is told that one does.
pub(crate) fn is_locked(run: &Path) -> bool {
    match File::open(run.join("agent.lock")) {
        Ok(file) => {
            let locked = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
            locked && !is_strangers(&file)
        }
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_locked(directory.path()));
        let first = take(directory.path()).unwrap();
        assert!(is_locked(directory.path()));
        let text = take(directory.path()).unwrap_err().to_string();
        assert!(
            text.contains(&format!("pid {}", std::process::id())),
            "{text}"
        );
        drop(first);
        assert!(!is_locked(directory.path()));
        assert!(take(directory.path()).is_ok());
        let mode = fs::metadata(directory.path().join("agent.lock"))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn holders_are_read_from_the_kernel_s_list() {
        let locks = "1: FLOCK  ADVISORY  READ  4121 08:01:1234 0 EOF\n\
            2: POSIX  ADVISORY  WRITE 7 08:01:1234 0 EOF\n\
            3: FLOCK  ADVISORY  WRITE 8 08:01:12345 0 EOF\n\
            3: -> FLOCK ADVISORY WRITE 9 08:01:1234 0 EOF\n";
        assert_eq!(holders(locks, 1_234).collect::<Vec<_>>(), [4_121]);
    }
}
