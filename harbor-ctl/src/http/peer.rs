//! Who is at the other end of a connection.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::UnixListener;

use super::TcpSide;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A process of this machine, by the control socket.
    Process {
        uid: u32,
        gid: u32,
        pid: i32,
        /// All its groups, as they were when it connected.
        groups: Vec<u32>,
    },
    /// Somebody by TCP; `is_certified` with a certificate that was asked for.
    Network {
        address: SocketAddr,
        is_certified: bool,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid, .. } => write!(f, "uid={uid} gid={gid} pid={pid}"),
            Self::Network { address, .. } => write!(f, "address={address}"),
        }
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        match stream.io().peer_cred() {
            Ok(cred) => Self::Process {
                uid: cred.uid(),
                gid: cred.gid(),
                pid: cred.pid().unwrap_or_default(),
                groups: groups(stream.io().as_fd(), cred.gid()),
            },
            // Without credentials the line shows the overflow ids, never root's.
            Err(_) => Self::Process {
                uid: 65_534,
                gid: 65_534,
                pid: 0,
                groups: Vec::new(),
            },
        }
    }
}

impl Connected<IncomingStream<'_, TcpSide>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpSide>) -> Self {
        stream.remote_addr().clone()
    }
}

/// The groups of the process at the other end of a socket: the main one, and the more of them that
/// the kernel kept when it connected (`SO_PEERGROUPS`, which no library has).
fn groups(socket: BorrowedFd<'_>, main: u32) -> Vec<u32> {
    // As many as Linux lets one process have.
    let mut more = vec![0_u32; 65_536];
    let mut bytes = libc::socklen_t::try_from(size_of_val(more.as_slice())).unwrap_or_default();
    // SAFETY: the buffer is as long as `bytes` says, and its items may hold any bits.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            more.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = match got {
        0 => bytes as usize / size_of::<u32>(),
        _ => 0,
    };
    more.truncate(count);
    more.push(main);
    more
}
