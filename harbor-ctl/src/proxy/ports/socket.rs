//! The sockets of numbers: one for each (protocol, port), from allocation to release.
//!
//! A socket takes both families where the host has IPv6. A listener may be bound while connections of
//! an earlier one linger (`SO_REUSEADDR` lets nobody listen beside it); a UDP socket shares with
//! nobody. What accepted connections should have is set on the listener, from which they inherit it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::{
    io::{Errno, ioctl_fionbio},
    net::{
        AddressFamily, SocketFlags, SocketType, bind, getsockname, ipproto, listen, socket_with,
        sockopt::{
            Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, ipv6_v6only, set_ip_mtu_discover,
            set_ipv6_mtu_discover, set_ipv6_v6only, set_socket_keepalive, set_socket_oobinline,
            set_socket_reuseaddr, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
            set_tcp_nodelay, socket_domain, socket_protocol,
        },
    },
};

use super::{addresses::Only, unheld::Unheld};
use crate::{
    model::Protocol,
    proxy::{
        udp::datagrams::ask_for_destination,
        worker::descriptors::{Descriptor, Ledger, is_scarcity},
    },
};

/// Names a socket: what it speaks, and where.
pub(crate) type Key = (Protocol, u16);

/// Connections that may wait to be accepted; the kernel caps it by `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// Silence after which the other end is asked whether it is there, then how often and how many times:
/// who is not loses the connection after three minutes.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(120), Duration::from_secs(15), 4);

/// Of which family a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// IPv6, which speaks IPv4 as well.
    Dual,
    /// IPv4, on a host without IPv6.
    V4,
}

/// A bound socket.
#[derive(Debug)]
pub(crate) struct PortSocket {
    pub(crate) key: Key,
    pub(crate) family: Family,
    pub(crate) socket: Descriptor,
}

impl PortSocket {
    /// Binds a number's socket.
    pub(super) fn take(key: Key, ledger: &Arc<Ledger>, only: &Only) -> Result<Self, Unheld> {
        if !ledger.has_room(1) {
            return Err(Unheld::Scarce);
        }
        let (family, fd) = match open(key.0, AddressFamily::INET6) {
            Err(Errno::AFNOSUPPORT) => (Family::V4, open(key.0, AddressFamily::INET)),
            other => (Family::Dual, other),
        };
        let socket = ledger.enter(fd.map_err(unheld)?);
        only.restrict(&socket).map_err(unheld)?;
        let seat = Self {
            key,
            family,
            socket,
        };
        match (seat.occupy(), family) {
            // IPv6 is compiled in and has no addresses: `net.ipv6.conf.all.disable_ipv6`.
            (Err(Errno::ADDRNOTAVAIL), Family::Dual) => Self::without_ipv6(key, ledger, only),
            (Err(error), _) => Err(unheld(error)),
            (Ok(()), _) => Ok(seat),
        }
    }

    /// Takes over the socket that an earlier agent has bound, if it is what its name says.
    pub(super) fn take_over(key: Key, fd: OwnedFd, ledger: &Arc<Ledger>) -> Result<Self, String> {
        let family = family_of(key, fd.as_fd())?;
        let socket = ledger.enter(fd);
        let seat = Self {
            key,
            family,
            socket,
        };
        seat.renew().map_err(words)?;
        Ok(seat)
    }

    /// Makes it what a new one is.
    fn renew(&self) -> Result<(), Errno> {
        ioctl_fionbio(&self.socket, true)?;
        self.prepare()?;
        match self.key.0 {
            Protocol::Tcp => listen(&self.socket, BACKLOG),
            Protocol::Udp => Ok(()),
        }
    }

    fn without_ipv6(key: Key, ledger: &Arc<Ledger>, only: &Only) -> Result<Self, Unheld> {
        let fd = open(key.0, AddressFamily::INET).map_err(unheld)?;
        only.restrict(&fd).map_err(unheld)?;
        let seat = Self {
            key,
            family: Family::V4,
            socket: ledger.enter(fd),
        };
        seat.occupy().map_err(unheld)?;
        Ok(seat)
    }

    fn occupy(&self) -> Result<(), Errno> {
        let (protocol, port) = self.key;
        let address: SocketAddr = match self.family {
            Family::Dual => (Ipv6Addr::UNSPECIFIED, port).into(),
            Family::V4 => (Ipv4Addr::UNSPECIFIED, port).into(),
        };
        if self.family == Family::Dual {
            set_ipv6_v6only(&self.socket, false)?;
        }
        self.prepare()?;
        bind(&self.socket, &address)?;
        match protocol {
            Protocol::Tcp => listen(&self.socket, BACKLOG),
            Protocol::Udp => Ok(()),
        }
    }

    fn prepare(&self) -> Result<(), Errno> {
        match self.key.0 {
            Protocol::Tcp => {
                set_socket_reuseaddr(&self.socket, true)?;
                set_tcp_nodelay(&self.socket, true)?;
                keep_alive(&self.socket)?;
                // Urgent bytes stay in the stream, which is all that is carried.
                set_socket_oobinline(&self.socket, true)
            }
            Protocol::Udp => {
                fragment(&self.socket, self.family == Family::Dual)?;
                ask_for_destination(&self.socket, self.family)
            }
        }
    }
}

impl AsFd for PortSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The family of a socket that is to be this number's; an error says why it cannot be.
fn family_of((protocol, port): Key, fd: BorrowedFd<'_>) -> Result<Family, String> {
    let spoken = socket_protocol(fd).map_err(words)?;
    let wanted = match protocol {
        Protocol::Tcp => ipproto::TCP,
        Protocol::Udp => ipproto::UDP,
    };
    let family = match socket_domain(fd).map_err(words)? {
        AddressFamily::INET6 if !ipv6_v6only(fd).map_err(words)? => Family::Dual,
        AddressFamily::INET => Family::V4,
        _ => return Err("it is of another family".into()),
    };
    if spoken != Some(wanted) {
        return Err(format!("it does not speak {protocol}"));
    }
    let bound = getsockname(fd).map_err(words)?;
    match SocketAddr::try_from(bound).map_err(words)? {
        at if at.ip().is_unspecified() && at.port() == port => Ok(family),
        other => Err(format!("it is bound to {other}")),
    }
}

/// Has the kernel find out when the other end of a silent connection is no longer there.
pub(crate) fn keep_alive(socket: &Descriptor) -> Result<(), Errno> {
    let (idle, interval, count) = KEEPALIVE;
    set_socket_keepalive(socket, true)?;
    set_tcp_keepidle(socket, idle)?;
    set_tcp_keepintvl(socket, interval)?;
    set_tcp_keepcnt(socket, count)
}

/// Lets datagrams be as large as UDP allows: those above the path's MTU are sent in fragments, here
/// or on the way.
pub(crate) fn fragment(socket: &Descriptor, is_v6: bool) -> Result<(), Errno> {
    if is_v6 {
        set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?;
    }
    set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)
}

fn open(protocol: Protocol, family: AddressFamily) -> Result<OwnedFd, Errno> {
    let kind = match protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(family, kind, flags, None)
}

pub(super) fn unheld(error: Errno) -> Unheld {
    match error {
        Errno::ADDRINUSE => Unheld::Taken,
        error if is_scarcity(error) => Unheld::Scarce,
        // net.ipv4.ip_unprivileged_port_start
        Errno::ACCESS => Unheld::Failed("numbers below 1024 need CAP_NET_BIND_SERVICE".into()),
        error => Unheld::Failed(words(error)),
    }
}

/// The kernel's words for an error.
fn words(error: Errno) -> String {
    std::io::Error::from(error).to_string()
}
