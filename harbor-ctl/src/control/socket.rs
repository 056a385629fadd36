//! The control socket's file: for the groups that may come in, and for nobody else.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use tokio::net::UnixListener;

use super::Groups;

/// Binds the socket; a file left by a dead agent is replaced. The caller holds the agent's lock.
pub(crate) fn bind(path: &Path, groups: Groups) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody may connect before owner and mode are set.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let listener = UnixListener::bind(path);
    nix::sys::stat::umask(old);
    let listener = listener?;
    if groups.admin.is_some() {
        // Without the right to give it away the socket stays with the agent's own group.
        let _ = nix::unistd::chown(path, None, groups.admin);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(groups.mode()))?;
    Ok(listener)
}
