//! Frames put on a real wire as they are.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    libc,
    net::if_::if_nametoindex,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

use crate::Netns;

/// A packet socket on one interface of a host.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    ifindex: u32,
}

impl Wire {
    /// Opens the socket.
    pub fn open(host: &Netns, interface: &str) -> Self {
        host.enter(|| Self {
            socket: socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                None,
            )
            .unwrap(),
            ifindex: if_nametoindex(interface).unwrap(),
        })
    }

    /// Sends a frame; waits where the interface's queue is full.
    pub fn send(&self, frame: &[u8]) {
        // SAFETY: all zero is a valid sockaddr_ll.
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.ifindex.cast_signed();
        loop {
            // SAFETY: buffer and address are valid for the lengths given.
            let sent = unsafe {
                libc::sendto(
                    self.socket.as_raw_fd(),
                    frame.as_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw const to).cast(),
                    size_of::<libc::sockaddr_ll>() as u32,
                )
            };
            if sent >= 0 {
                return;
            }
            let error = io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS), "{error}");
            std::thread::yield_now();
        }
    }
}
