//! The file of the configuration as a file: edited by one at a time, replaced in one step, with its owner,
//! its rights and its links kept.

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

/// How long somebody else's edit is waited for.
const LOCK_TRIES: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// As many links as Linux follows.
const LINKS: usize = 40;

/// Keeps everybody else who edits away until it is dropped: of two who read the same text, one would
/// lose what the other has written.
pub(super) fn alone(path: &Path) -> io::Result<Flock<fs::File>> {
    let target = target(path);
    let directory = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory)?;
    let mut directory = fs::File::open(directory)?;
    for _ in 0..LOCK_TRIES {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) => directory = back,
            Err((_, error)) => return Err(error.into()),
        }
        thread::sleep(LOCK_PAUSE);
    }
    let text = "somebody else has its folder locked (flock)";
    Err(io::Error::new(ErrorKind::WouldBlock, text))
}

/// The file that a path leads to over links, which need not be there.
fn target(path: &Path) -> PathBuf {
    let mut target = path.to_owned();
    for _ in 0..LINKS {
        let Ok(next) = fs::read_link(&target) else {
            break;
        };
        target = target.parent().unwrap_or(Path::new("/")).join(next);
    }
    target
}

fn in_place(target: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::File::options()
        .write(true)
        .truncate(true)
        .open(target)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Temporary file, fsync, rename, fsync of the directory: the old text or the new one, never half. Who
/// owns the file and who may read it stays; one with other names is written in its place, or those would
/// go on with the old text.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<()> {
    let target = target(path);
    let directory = target.parent().unwrap_or(Path::new("/"));
    let old = match fs::metadata(&target) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if old.as_ref().is_some_and(|old| old.nlink() > 1) {
        return in_place(&target, text);
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.{}.new", std::process::id()));
    let written = (|| {
        let mut file = fs::File::create(&temporary)?;
        if let Some(old) = &old {
            let own = file.metadata()?;
            let is_same = (own.uid(), own.gid()) == (old.uid(), old.gid());
            if !is_same && fchown(&file, Some(old.uid()), Some(old.gid())).is_err() {
                // Without the right to give files away.
                fs::remove_file(&temporary)?;
                return in_place(&target, text);
            }
        }
        let mode = old.as_ref().map_or(0o644, |old| old.permissions().mode());
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, &target)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    fs::File::open(directory)?.sync_all()
}
