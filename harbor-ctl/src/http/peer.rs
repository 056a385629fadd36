//! Who is at the other end of a connection.

use std::{fmt, net::SocketAddr};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use tokio::net::UnixListener;

use super::TcpSide;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Peer {
    /// A process of this machine, by the control socket.
    Process { uid: u32, gid: u32, pid: i32 },
    /// Somebody by TCP; `is_certified` with a certificate that was asked for.
    Network {
        address: SocketAddr,
        is_certified: bool,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid } => write!(f, "uid={uid} gid={gid} pid={pid}"),
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
            },
            // Without credentials the line shows the overflow ids, never root's.
            Err(_) => Self::Process {
                uid: 65_534,
                gid: 65_534,
                pid: 0,
            },
        }
    }
}

impl Connected<IncomingStream<'_, TcpSide>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TcpSide>) -> Self {
        *stream.remote_addr()
    }
}
