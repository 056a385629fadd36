//! Asks the host whether a number is free: what the kernel's tables show, and a bind that either
//! works or does not.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::AsRawFd,
};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt::ReuseAddr,
};

use super::{
    Host,
    sockets::{Holder, Scope, SocketTable, name_holders, read_sockets},
};
use crate::model::Protocol;

/// The host as it is at the first question of one allocation.
#[derive(Debug, Default)]
pub(crate) struct LiveHost {
    table: Option<SocketTable>,
}

impl LiveHost {
    fn table(&mut self) -> &SocketTable {
        // An unreadable /proc leaves the bind test, which decides anyway.
        self.table
            .get_or_insert_with(|| read_sockets(Scope::All).unwrap_or_default())
    }
}

impl LiveHost {
    /// The holders of these numbers, found in one pass.
    pub(crate) fn name(&mut self, numbers: &[(Protocol, u16)]) -> Vec<((Protocol, u16), Holder)> {
        if numbers.is_empty() {
            return Vec::new();
        }
        let table = self.table();
        let found: Vec<_> = numbers
            .iter()
            .filter_map(|key| Some((*key, table.get(key)?.clone())))
            .collect();
        let sockets: Vec<_> = found.iter().map(|(_, socket)| socket.clone()).collect();
        found
            .into_iter()
            .map(|(key, _)| key)
            .zip(name_holders(&sockets))
            .collect()
    }
}

impl Host for LiveHost {
    fn is_held(&mut self, protocol: Protocol, port: u16) -> bool {
        self.table().contains_key(&(protocol, port)) || !can_bind(protocol, port)
    }

    fn holder(&mut self, protocol: Protocol, port: u16) -> Holder {
        let socket = self.table().get(&(protocol, port)).cloned();
        let named = socket.and_then(|socket| name_holders(&[socket]).pop());
        named.unwrap_or(Holder {
            pid: None,
            command: String::new(),
            socket: None,
        })
    }
}

/// Only "address in use" says that a number is held; a missing right to bind says nothing.
fn can_bind(protocol: Protocol, port: u16) -> bool {
    let address = (Ipv4Addr::UNSPECIFIED, port);
    let result = match protocol {
        Protocol::Tcp => bind_tcp(port),
        Protocol::Udp => UdpSocket::bind(address).map(drop),
    };
    !matches!(result, Err(error) if error.kind() == ErrorKind::AddrInUse)
}

/// As the proxy binds: past connections that wait to be forgotten, and nobody else. A connection of
/// the host that uses the number as its source port has no SO_REUSEADDR, and counts as a holder.
fn bind_tcp(port: u16) -> std::io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let descriptor = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&descriptor, ReuseAddr, &true)?;
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    bind(descriptor.as_raw_fd(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_bound_number_is_held_whatever_its_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp, udp) = (
            tcp.local_addr().unwrap().port(),
            udp.local_addr().unwrap().port(),
        );
        assert!(!can_bind(Protocol::Tcp, tcp));
        assert!(!can_bind(Protocol::Udp, udp));
    }

    #[test]
    fn an_ipv6_listener_holds_its_number_too() {
        let Ok(listener) = TcpListener::bind("[::1]:0") else {
            return;
        };
        let port = listener.local_addr().unwrap().port();
        let mut host = LiveHost::default();
        assert!(host.is_held(Protocol::Tcp, port));
        assert_eq!(
            host.holder(Protocol::Tcp, port).pid,
            Some(std::process::id())
        );
    }
}
