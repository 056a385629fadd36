//! One agent per run directory: a lock on `agent.lock`, with the holder's process id inside.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use super::{AgentError, Tried as _};

/// Holds the lock as long as it lives; the kernel releases it when the process dies.
#[derive(Debug)]
pub(super) struct AgentLock {
    _file: File,
}

/// Takes the lock, or says who has it.
pub(super) fn take(run: &Path) -> Result<AgentLock, AgentError> {
    let path = run.join("agent.lock");
    let cannot = || format!("cannot lock {}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .tried(cannot)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let text = match holder.trim().parse::<u32>() {
                Ok(pid) => format!("an agent already runs: pid {pid} holds {}", path.display()),
                Err(_) => format!("an agent already runs: it holds {}", path.display()),
            };
            return Err(AgentError::SecondAgent { text });
        }
        Err(TryLockError::Error(error)) => return Err(error).tried(cannot),
    }
    file.set_len(0).tried(cannot)?;
    file.rewind().tried(cannot)?;
    writeln!(file, "{}", std::process::id()).tried(cannot)?;
    Ok(AgentLock { _file: file })
}

/// Whether an agent runs on this directory.
pub(crate) fn is_held(run: &Path) -> bool {
    let file = File::open(run.join("agent.lock"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_held(directory.path()));
        let first = take(directory.path()).unwrap();
        assert!(is_held(directory.path()));
        let text = take(directory.path()).unwrap_err().to_string();
        assert!(
            text.contains(&format!("pid {}", std::process::id())),
            "{text}"
        );
        drop(first);
        assert!(!is_held(directory.path()));
        assert!(take(directory.path()).is_ok());
    }
}
