//! At which of the node's addresses the sockets of numbers answer.
//!
//! A socket holds its number on every address, or somebody else would take it on another; a filter
//! on the socket leaves what is for other addresses alone. It is there before the socket is bound.

use std::{
    net::IpAddr,
    os::fd::{AsFd, AsRawFd as _},
};

use libc::{
    BPF_ABS, BPF_ALU, BPF_B, BPF_JA, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_RSH, BPF_W,
    sock_filter,
};
use rustix::io::Errno;

/// Where the destination stands in the headers of IPv4 and IPv6.
const DESTINATION: [u32; 2] = [16, 24];

/// Addresses; none: all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Only {
    addresses: Vec<IpAddr>,
}

impl Only {
    pub(crate) fn new(addresses: Vec<IpAddr>) -> Self {
        Self { addresses }
    }

    pub(crate) fn has(&self, address: IpAddr) -> bool {
        self.addresses.is_empty() || self.addresses.contains(&address)
    }

    /// Has a socket answer at these addresses alone.
    pub(super) fn restrict(&self, socket: &impl AsFd) -> Result<(), Errno> {
        let socket = socket.as_fd().as_raw_fd();
        if self.addresses.is_empty() {
            let nothing: libc::c_int = 0;
            return match set(socket, libc::SO_DETACH_FILTER, &nothing) {
                // It had none.
                Err(Errno::NOENT) => Ok(()),
                done => done,
            };
        }
        let mut program = self.program();
        let len = u16::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
        let filter = program.as_mut_ptr();
        set(
            socket,
            libc::SO_ATTACH_FILTER,
            &libc::sock_fprog { len, filter },
        )
    }

    /// Takes what is for one of the addresses; of either family, as a socket may speak both.
    fn program(&self) -> Vec<sock_filter> {
        let load = |size: u32, at: u32| step(BPF_LD | size | BPF_ABS, at + network(), [0, 0]);
        let is = |value: u32, skip: u8| step(BPF_JMP | BPF_JEQ | BPF_K, value, [0, skip]);
        let take = || step(BPF_RET | BPF_K, u32::MAX, [0, 0]);
        let leave = || step(BPF_RET | BPF_K, 0, [0, 0]);
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for address in &self.addresses {
            match address {
                IpAddr::V4(address) => {
                    v4.extend([
                        load(BPF_W, DESTINATION[0]),
                        is(u32::from(*address), 1),
                        take(),
                    ]);
                }
                IpAddr::V6(address) => {
                    let bits = u128::from(*address);
                    for word in 0..4_u32 {
                        let value = (bits >> (96 - 32 * word)) as u32;
                        // Over the rest of this address, and what takes it.
                        let skip = (2 * (3 - word) + 1) as u8;
                        v6.extend([load(BPF_W, DESTINATION[1] + 4 * word), is(value, skip)]);
                    }
                    v6.push(take());
                }
            }
        }
        v4.push(leave());
        v6.push(leave());
        let over_v4 = v4.len() as u32;
        let version = [
            load(BPF_B, 0),
            step(BPF_ALU | BPF_RSH | BPF_K, 4, [0, 0]),
            is(4, 1),
            // Further than a condition jumps.
            step(BPF_JMP | BPF_JA, 1, [0, 0]),
            step(BPF_JMP | BPF_JA, over_v4, [0, 0]),
        ];
        version.into_iter().chain(v4).chain(v6).collect()
    }
}

/// The offset that stands for the network header (linux/filter.h).
fn network() -> u32 {
    libc::SKF_NET_OFF.cast_unsigned()
}

fn step(code: u32, k: u32, [jt, jf]: [u8; 2]) -> sock_filter {
    // Codes are sums of small flags.
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

fn set<T>(socket: libc::c_int, option: libc::c_int, value: &T) -> Result<(), Errno> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` lives during the call and is as long as `length` says; a filter's steps live in
    // the caller, and the kernel copies them.
    let done = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
        time::Duration,
    };

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_socket_answers_at_these_addresses_alone_and_again_at_all() {
        let only = Only::new(vec![
            "127.0.0.2".parse().unwrap(),
            "::1".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        ]);
        assert!(only.has("127.0.0.2".parse().unwrap()) && !only.has("127.0.0.1".parse().unwrap()));
        let listener = TcpListener::bind("[::]:0").unwrap();
        only.restrict(&listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connects = |host: &str| {
            let to = SocketAddr::new(host.parse().unwrap(), port);
            TcpStream::connect_timeout(&to, SHORT).is_ok()
        };
        assert!(connects("127.0.0.2") && connects("::1") && !connects("127.0.0.1"));
        Only::default().restrict(&listener).unwrap();
        assert!(connects("127.0.0.1"));
        Only::default().restrict(&listener).unwrap();

        let socket = UdpSocket::bind("[::]:0").unwrap();
        socket.set_read_timeout(Some(SHORT)).unwrap();
        only.restrict(&socket).unwrap();
        let port = socket.local_addr().unwrap().port();
        for (host, is_heard) in [("127.0.0.1", false), ("127.0.0.2", true)] {
            let client = UdpSocket::bind("127.0.0.1:0").unwrap();
            client.send_to(b"x", (host, port)).unwrap();
            assert_eq!(socket.recv(&mut [0; 8]).is_ok(), is_heard, "{host}");
        }
    }
}
