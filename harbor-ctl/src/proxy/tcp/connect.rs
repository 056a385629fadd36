//! The way of a TCP connection to its backend: a socket that connects to one backend after the other.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, connect, socket_with,
        sockopt::{set_socket_linger, set_socket_oobinline, set_tcp_nodelay},
    },
};

use super::connection::Context;
use crate::{
    model::{Doubt, Witness},
    proxy::{
        ports::socket::keep_alive,
        select::{Choice, backend::Backend, choose, frontend::Frontend},
        worker::{
            descriptors::{Descriptor, is_scarcity},
            poll::{Interest, Name, Source},
        },
    },
};

/// The way to the backend.
pub(super) struct Leg {
    pub(super) backend: Arc<Backend>,
    pub(super) socket: Descriptor,
}

impl Leg {
    /// The way to the next backend that was not tried, as far as it fails at once.
    pub(super) fn next(
        frontend: &Frontend,
        client: SocketAddr,
        tried: &mut Vec<u64>,
        (name, ground): (Name, &Context<'_>),
    ) -> Option<Self> {
        loop {
            let chosen = choose(frontend, client.ip(), ground.now, tried, Choice::Real)?;
            match Self::to(&chosen.backend, name, ground) {
                Ok(leg) => return Some(leg),
                Err(error) if is_scarcity(error) => {
                    ground.common.shed.fetch_add(1, Relaxed);
                    return None;
                }
                Err(error) => {
                    if let Some(doubt) = doubt_of(error) {
                        let backend = &chosen.backend;
                        let witness = witness_of(error, client);
                        ground.common.doubt(frontend.key, backend, doubt, witness);
                    }
                    tried.push(chosen.backend.number);
                }
            }
        }
    }

    fn to(backend: &Arc<Backend>, name: Name, ground: &Context<'_>) -> Result<Self, Errno> {
        let family = match backend.address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        let socket = ground.common.ledger.enter(socket);
        set_tcp_nodelay(&socket, true)?;
        set_socket_oobinline(&socket, true)?;
        keep_alive(&socket)?;
        match connect(&socket, &backend.address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        ground
            .poll
            .add(&socket, Source::Backend(name), Interest::Changes)?;
        backend.load.flows.fetch_add(1, Relaxed);
        Ok(Self {
            backend: Arc::clone(backend),
            socket,
        })
    }

    pub(super) fn close(self) {
        self.backend.load.flows.fetch_sub(1, Relaxed);
    }
}

/// What a failed connect says of the backend; `None` = it is this host that could not.
pub(super) fn doubt_of(error: Errno) -> Option<Doubt> {
    match error {
        Errno::CONNREFUSED | Errno::CONNRESET => Some(Doubt::Refused),
        Errno::TIMEDOUT => Some(Doubt::Silent),
        error if is_unreachable(error) => Some(Doubt::Unreachable),
        _ => None,
    }
}

/// Whether an error is what the kernel makes of a host or network that cannot be reached.
pub(crate) fn is_unreachable(error: Errno) -> bool {
    matches!(
        error,
        Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NONET
            | Errno::ACCESS
            | Errno::NOPROTOOPT
    )
}

/// Whose word the failure to begin a connection is.
fn witness_of(error: Errno, client: SocketAddr) -> Witness {
    match is_unreachable(error) {
        true => Witness::Kernel,
        false => Witness::Client(client.ip()),
    }
}

/// Makes the end of this socket a reset.
pub(crate) fn reset(socket: &Descriptor) {
    // A socket that is dead already needs none.
    let _ = set_socket_linger(socket, Some(Duration::ZERO));
}
