//! The control socket's file: for the groups that may come in, and for nobody else. Whoever may not
//! ask cannot connect.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use nix::unistd::Gid;
use tokio::net::{UnixListener, UnixSocket};

use super::{acl, groups::Groups};

/// Connections that wait to be accepted: root's beside a flood of others'.
const BACKLOG: u32 = 4_096;
/// Who may connect: the file's mode.
const MODE: u32 = 0o660;

/// The control socket, and why the group that may look cannot reach it, if that is so.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) listener: UnixListener,
    pub(crate) problem: Option<String>,
}

/// Binds the socket; a file left by a dead agent is replaced. The caller holds the agent's lock.
pub(crate) fn bind(path: &Path, groups: Groups) -> io::Result<Bound> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody may connect before owner and mode are set.
    let old = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o177));
    let socket = UnixSocket::new_stream();
    let listener = socket.and_then(|socket| {
        socket.bind(path)?;
        socket.listen(BACKLOG)
    });
    nix::sys::stat::umask(old);
    let listener = listener?;
    if groups.admin.is_some() {
        // Without the right to give it away the socket stays with the agent's own group.
        let _ = nix::unistd::chown(path, None, groups.admin);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
    let let_in = groups.read.map(|group| let_in(path, group));
    let problem = let_in.and_then(Result::err).map(|error| {
        format!("control.read_group cannot connect: an access control list was not set: {error}")
    });
    Ok(Bound { listener, problem })
}

/// Lets a second group connect, and get to the socket through its directory.
fn let_in(path: &Path, group: Gid) -> io::Result<()> {
    acl::add_group(path, group, 0o6)?;
    let Some(directory) = path.parent() else {
        return Ok(());
    };
    match fs::metadata(directory)?.permissions().mode() & 0o001 {
        0 => acl::add_group(directory, group, 0o1),
        _ => Ok(()),
    }
}
