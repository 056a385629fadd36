//! ICMP errors about a flow's datagrams, and which of them to believe.
//!
//! The kernel takes any that names a socket's addresses and numbers, and whoever guesses those can send
//! one. It counts if it quotes a datagram that was sent lately, as for the programs in the kernel; and
//! that nobody listens, only the backend itself can say.

use std::{
    io::IoSliceMut,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, AsRawFd as _},
};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use rustix::io::Errno;

use crate::proxy::{
    tcp::connect::is_unreachable as is_host_unreachable, worker::descriptors::Descriptor,
};

/// Errors that are read at once; a flood of them must not keep others waiting.
const ERRORS: usize = 64;
/// Datagrams that are remembered.
const MOST: usize = 4;
/// Octets of each that are.
const KEPT: usize = 32;
/// A quote of less says nothing, unless the datagram had no more.
const LEAST: usize = 8;
/// Control data of one error: its description, and an address.
const CONTROL: usize = 128;

/// How the datagrams began that went to a backend last.
#[derive(Debug, Default)]
pub(super) struct Recent {
    sent: [Option<Beginning>; MOST],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Beginning {
    octets: [u8; KEPT],
    /// Of the octets that are the datagram's.
    length: usize,
}

/// What an error says.
#[derive(Clone, Copy, Debug)]
struct Said {
    /// That nobody listens, rather than that the host is not reached.
    is_of_port: bool,
    by: Option<IpAddr>,
}

impl Recent {
    /// Remembers the last of some datagrams that all had this in front.
    pub(super) fn note(&mut self, prefix: &[u8], payloads: &[&[u8]]) {
        for payload in &payloads[payloads.len().saturating_sub(MOST)..] {
            let mut octets = [0; KEPT];
            let mut length = 0;
            for (octet, place) in prefix.iter().chain(*payload).zip(&mut octets) {
                *place = *octet;
                length += 1;
            }
            self.sent[self.next % MOST] = Some(Beginning { octets, length });
            self.next += 1;
        }
    }

    /// Whether this may be a quote of one of them.
    fn has(&self, quoted: &[u8]) -> bool {
        self.sent.iter().flatten().any(|sent| {
            let known = quoted.len().min(sent.length);
            quoted.len() >= sent.length.min(LEAST) && quoted[..known] == sent.octets[..known]
        })
    }
}

/// Reads the errors that stand in a socket's queue; whether one is to be believed that says that the
/// backend is not there.
pub(super) fn tell_of_absence(socket: &Descriptor, backend: IpAddr, recent: &Recent) -> bool {
    let mut is_believed = false;
    let mut control = vec![0; CONTROL];
    for _ in 0..ERRORS {
        let mut quoted = [0; KEPT];
        let mut room = [IoSliceMut::new(&mut quoted)];
        let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
        let descriptor = socket.as_fd().as_raw_fd();
        let Ok(message) = recvmsg::<()>(descriptor, &mut room, Some(&mut control), flags) else {
            break;
        };
        let length = message.bytes.min(KEPT);
        let said = message.cmsgs().ok().and_then(|mut all| all.find_map(read));
        is_believed |= said.is_some_and(|said| {
            let can_know = !said.is_of_port || said.by == Some(backend);
            can_know && recent.has(&quoted[..length])
        });
    }
    is_believed
}

/// An error that says that somebody is not there.
fn read(message: ControlMessageOwned) -> Option<Said> {
    let (error, by) = match message {
        ControlMessageOwned::Ipv4RecvErr(error, by) => {
            let by = by.map(|by| Ipv4Addr::from(u32::from_be(by.sin_addr.s_addr)).into());
            (error, by)
        }
        ControlMessageOwned::Ipv6RecvErr(error, by) => {
            let by = by.map(|by| Ipv6Addr::from(by.sin6_addr.s6_addr).into());
            (error, by)
        }
        _ => return None,
    };
    let errno = Errno::from_raw_os_error(error.ee_errno.cast_signed());
    is_unreachable(errno).then_some(Said {
        is_of_port: errno == Errno::CONNREFUSED,
        by,
    })
}

/// Whether an error says that nobody is there, and not that a datagram is wrong or a queue full.
pub(super) fn is_unreachable(error: Errno) -> bool {
    error == Errno::CONNREFUSED || is_host_unreachable(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_is_of_one_of_the_last_four_datagrams_or_of_none() {
        let mut recent = Recent::default();
        assert!(!recent.has(b"") && !recent.has(b"who are you"));
        recent.note(b"", &[b"who are you", b"and you there"]);
        // Routers quote what they like, as long as it is enough.
        for quoted in [&b"who are you"[..], b"who are ", b"who are you\0\0\0"] {
            assert!(recent.has(quoted), "{quoted:?}");
        }
        for quoted in [&b""[..], b"who", b"who is it then"] {
            assert!(!recent.has(quoted), "{quoted:?}");
        }
        recent.note(b"", &[b"1", b"2", b"3", b"4", b"5"]);
        assert!(!recent.has(b"who are you") && !recent.has(b"1") && recent.has(b"2"));
        recent.note(b"PROXY ", &[b""]);
        assert!(recent.has(b"PROXY ") && !recent.has(b""));
        recent.note(b"", &[b""]);
        assert!(recent.has(b""));
    }
}
