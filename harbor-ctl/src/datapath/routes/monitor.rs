//! Listens to what the kernel says of interfaces, addresses, routes and neighbours as it happens.
//!
//! Only the kind of a change is read from a message: whoever hears of it looks at the whole, so a
//! message lost to a full buffer is made good by the next look.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv,
            setsockopt, socket, sockopt,
        },
        time::{TimeVal, TimeValLike as _},
    },
};

use crate::datapath::error::{DatapathError, Tried as _};

/// What has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HostChange {
    /// An interface or an address.
    pub(crate) links: bool,
    /// A route or a rule.
    pub(crate) routes: bool,
    /// A neighbour.
    pub(crate) neighbours: bool,
}

impl HostChange {
    const ALL: Self = Self {
        links: true,
        routes: true,
        neighbours: true,
    };

    pub(crate) fn is_any(self) -> bool {
        self != Self::default()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.links |= other.links;
        self.routes |= other.routes;
        self.neighbours |= other.neighbours;
    }
}

/// Groups of linux/rtnetlink.h as bits: link, neighbour, IPv4 and IPv6 address, route and rule.
const GROUPS: u32 = 0x1 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18;
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Calls `tell` with every change, from a thread of its own, until it answers that nobody listens.
pub(crate) fn listen(
    tell: impl Fn(HostChange) -> bool + Send + 'static,
) -> Result<(), DatapathError> {
    let what = || "cannot listen to the kernel's routing messages".to_owned();
    let socket = subscribe().tried(what)?;
    let run = move || {
        let mut buffer = vec![0; 65_536];
        loop {
            let change = match receive(&socket, &mut buffer) {
                Ok(change) => change,
                Err(error) => {
                    tracing::error!("no more routing messages: {error}");
                    return;
                }
            };
            if !tell(change) {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new()
        .name("netlink".into())
        .spawn(run);
    thread.map(drop).tried(what)
}

fn subscribe() -> io::Result<OwnedFd> {
    let descriptor = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    // So that the thread notices that nobody listens any more.
    setsockopt(&descriptor, sockopt::ReceiveTimeout, &TimeVal::seconds(1))?;
    bind(descriptor.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    Ok(descriptor)
}

/// The next change; none after a second of silence.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<HostChange> {
    match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
        Ok(length) => Ok(read(&buffer[..length])),
        // The kernel had more to say than the socket could hold.
        Err(Errno::ENOBUFS) => Ok(HostChange::ALL),
        Err(Errno::EAGAIN | Errno::EINTR) => Ok(HostChange::default()),
        Err(error) => Err(error.into()),
    }
}

/// The kinds of the messages in one datagram.
fn read(mut messages: &[u8]) -> HostChange {
    let mut change = HostChange::default();
    while let [a, b, c, d, e, f, ..] = *messages {
        let length = u32::from_ne_bytes([a, b, c, d]) as usize;
        match u16::from_ne_bytes([e, f]) {
            libc::RTM_NEWLINK..=libc::RTM_DELADDR => change.links = true,
            libc::RTM_NEWROUTE..=libc::RTM_DELROUTE | libc::RTM_NEWRULE..=libc::RTM_DELRULE => {
                change.routes = true;
            }
            libc::RTM_NEWNEIGH..=libc::RTM_DELNEIGH => change.neighbours = true,
            _ => {}
        }
        // Messages begin at multiples of four.
        let next = length.max(HEADER).next_multiple_of(4);
        messages = messages.get(next..).unwrap_or_default();
    }
    change
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, length: u32) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.resize((length as usize).next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn every_message_of_a_datagram_counts() {
        let mut datagram = message(libc::RTM_NEWNEIGH, 19);
        datagram.extend(message(libc::RTM_DELROUTE, 20));
        let change = read(&datagram);
        assert!(change.neighbours && change.routes && !change.links);
        assert!(read(&message(libc::RTM_NEWADDR, 16)).links);
    }

    #[test]
    fn a_message_that_lies_about_its_length_ends_the_reading() {
        for length in [0, 3, u32::MAX] {
            let mut bytes = message(libc::RTM_NEWLINK, 16);
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(read(&bytes).links);
        }
        assert!(!read(&[1, 2, 3]).is_any());
    }

    #[test]
    fn the_kernel_tells_of_changes() {
        // Without rights of any kind; a new namespace is not needed to subscribe.
        let socket = subscribe().unwrap();
        assert!(socket.as_raw_fd() > 0);
    }
}
