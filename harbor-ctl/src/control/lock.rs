//! One agent per run directory: a lock on `agent.lock`, with the holder's process id inside.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
};

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

/// Takes the lock, or says who has it.
pub(crate) fn take(run: &Path) -> Result<AgentLock, LockError> {
    let path = run.join("agent.lock");
    let cannot = |source| LockError::Io {
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            return Err(LockError::Held(match holder.trim().parse::<u32>() {
                Ok(pid) => format!("pid {pid} holds {}", path.display()),
                Err(_) => format!("somebody holds {}", path.display()),
            }));
        }
        Err(TryLockError::Error(error)) => return Err(cannot(error)),
    }
    let mut write = || {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write().map_err(cannot)?;
    Ok(AgentLock { _file: file })
}

/// Whether an agent runs on this directory.
pub(crate) fn is_locked(run: &Path) -> bool {
    let file = File::open(run.join("agent.lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
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
    }
}
