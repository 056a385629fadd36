//! Asks the host whether a number is free: what the kernel's tables and rules show, and a bind that
//! either works or does not.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd,
    sync::Arc,
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, setsockopt, socket,
        sockopt::{Ipv6V6Only, ReuseAddr},
    },
};

use super::{
    Host,
    rules::Forwards,
    sockets::{Holder, Scope, SocketTable, name_holders, read_sockets},
};
use crate::model::Protocol;

/// The host as it is at the first question of one allocation.
#[derive(Debug, Default)]
pub(crate) struct LiveHost {
    table: Option<SocketTable>,
    forwards: Option<Arc<Forwards>>,
    /// How old what is known of the rules may be.
    age: Duration,
}

impl LiveHost {
    /// A host whose rules may have been read so long ago.
    pub(crate) fn within(age: Duration) -> Self {
        Self {
            age,
            ..Self::default()
        }
    }

    /// The rule that forwards a number.
    pub(crate) fn forwarder(&mut self, protocol: Protocol, port: u16) -> Option<Holder> {
        let age = self.age;
        let forwards = self.forwards.get_or_insert_with(|| Forwards::read(age));
        let rule = forwards.rule(protocol, port)?;
        Some(Holder {
            rule: Some(rule.to_owned()),
            ..Holder::default()
        })
    }

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
        let rule = |key: &(Protocol, u16)| Some((*key, self.forwarder(key.0, key.1)?));
        let mut holders: Vec<_> = numbers.iter().filter_map(rule).collect();
        let table = self.table();
        let found: Vec<_> = numbers
            .iter()
            .filter_map(|key| Some((*key, table.get(key)?.clone())))
            .collect();
        let sockets: Vec<_> = found.iter().map(|(_, socket)| socket.clone()).collect();
        let keys = found.into_iter().map(|(key, _)| key);
        holders.extend(keys.zip(name_holders(&sockets)));
        holders
    }
}

impl Host for LiveHost {
    /// A rule that forwards the number, then the bind test decides; the tables, which are long on a
    /// host with many sockets, only where it says nothing, as without the right to bind.
    fn is_held(&mut self, protocol: Protocol, port: u16) -> bool {
        if self.forwarder(protocol, port).is_some() {
            return true;
        }
        match try_bind(protocol, port) {
            Ok(()) => false,
            Err(Errno::EADDRINUSE) => true,
            Err(_) => self.table().contains_key(&(protocol, port)),
        }
    }

    fn holder(&mut self, protocol: Protocol, port: u16) -> Holder {
        let mut named = self.forwarder(protocol, port);
        if named.is_none() {
            let socket = self.table().get(&(protocol, port)).cloned();
            named = socket.and_then(|socket| name_holders(&[socket]).pop());
        }
        named.unwrap_or_default()
    }
}

/// Binds as the proxy does: both families where there are two; past connections that wait to be
/// forgotten, and nobody else. A connection of the host that uses the number as its source port has
/// no SO_REUSEADDR, and counts as a holder.
fn try_bind(protocol: Protocol, port: u16) -> Result<(), Errno> {
    match bind_in(AddressFamily::Inet6, protocol, port) {
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL) => {
            bind_in(AddressFamily::Inet, protocol, port)
        }
        other => other,
    }
}

fn bind_in(family: AddressFamily, protocol: Protocol, port: u16) -> Result<(), Errno> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
    if protocol == Protocol::Tcp {
        setsockopt(&socket, ReuseAddr, &true)?;
    }
    if family == AddressFamily::Inet {
        let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
        return bind(socket.as_raw_fd(), &address);
    }
    setsockopt(&socket, Ipv6V6Only, &false)?;
    let address = SockaddrIn6::from(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, port, 0, 0));
    bind(socket.as_raw_fd(), &address)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_bound_number_is_held_whatever_its_address() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (tcp, udp) = (
            tcp.local_addr().unwrap().port(),
            udp.local_addr().unwrap().port(),
        );
        assert_eq!(try_bind(Protocol::Tcp, tcp), Err(Errno::EADDRINUSE));
        assert_eq!(try_bind(Protocol::Udp, udp), Err(Errno::EADDRINUSE));
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
