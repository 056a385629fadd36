//! The control socket's file: 0660, and of group `harbor` where that group exists.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use nix::unistd::{Gid, Group};
use tokio::net::UnixListener;

/// Binds the socket; a file left by a dead agent is replaced. The caller holds the agent's lock.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody may connect before owner and mode are set.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(old);
    let listener = listener?;
    if let Some(group) = harbor_group() {
        // Without the right to give it away the socket stays with the agent's own group.
        let _ = nix::unistd::chown(path, None, Some(group));
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

fn harbor_group() -> Option<Gid> {
    Group::from_name("harbor")
        .ok()
        .flatten()
        .map(|group| group.gid)
}
