//! Clients that choose where they come from: an address and a port of their own, again and again.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    libc,
    sys::{
        socket::{
            self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt,
            sockopt::ReuseAddr, sockopt::SendTimeout,
        },
        time::TimeVal,
    },
};

/// How long a client waits for one answer. TCP's first retransmissions fit into it.
const PATIENCE: Duration = Duration::from_secs(8);

/// How a client ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By FIN, and the other side's FIN is awaited.
    Order,
    /// By a reset.
    Reset,
}

/// Connects from this address and port (0 = any) inside the namespace of the caller.
pub fn dial(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, ReuseAddr, &true)?;
    // A connect gives up after the time that a send may take (socket(7)).
    setsockopt(&socket, SendTimeout, &TimeVal::new(8, 0))?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(from))?;
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The name of the app that takes a new connection from here, which is ended as told.
pub fn greeting(from: SocketAddr, to: SocketAddr, end: End) -> io::Result<String> {
    let mut stream = dial(from, to)?;
    let mut name = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte)?;
        name.extend(byte);
    }
    stream.write_all(b"bye")?;
    match end {
        End::Order => {
            stream.shutdown(Shutdown::Write)?;
            stream.read_to_end(&mut Vec::new())?;
        }
        End::Reset => reset(&stream)?,
    }
    Ok(String::from_utf8_lossy(name.trim_ascii()).into_owned())
}

/// Ends a connection by a reset, at once: a process that is being started in another thread may
/// hold the descriptor too, so closing it would not be enough (connect(2): `AF_UNSPEC`).
pub fn reset(stream: &TcpStream) -> io::Result<()> {
    // SAFETY: all zero is a valid sockaddr; its family is AF_UNSPEC.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    // SAFETY: the address is valid for the length given.
    let result = unsafe {
        libc::connect(
            stream.as_raw_fd(),
            &raw const nobody,
            size_of::<libc::sockaddr>() as u32,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
