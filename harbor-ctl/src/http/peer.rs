//! Who is at the other end of a connection.

use std::{
    fmt,
    net::SocketAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use tokio::net::UnixStream;

/// As many groups as most processes have at most.
const USUAL: usize = 32;

/// Who is at the other end.
#[derive(Clone, Debug)]
pub(crate) enum Peer {
    /// A process of this machine, by the control socket.
    Process {
        uid: u32,
        gid: u32,
        pid: i32,
        /// All its groups, as they were when it connected.
        groups: Vec<u32>,
    },
    /// Somebody by TCP; `subject` is what a certificate says that was asked for.
    Network {
        address: SocketAddr,
        subject: Option<String>,
    },
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, gid, pid, .. } => write!(f, "uid={uid} gid={gid} pid={pid}"),
            Self::Network { address, subject } => match subject {
                Some(subject) => write!(f, "address={address} subject={subject:?}"),
                None => write!(f, "address={address}"),
            },
        }
    }
}

impl Peer {
    pub(super) fn of_socket(stream: &UnixStream) -> Self {
        match stream.peer_cred() {
            Ok(cred) => Self::Process {
                uid: cred.uid(),
                gid: cred.gid(),
                pid: cred.pid().unwrap_or_default(),
                groups: groups(stream.as_fd(), cred.gid()),
            },
            // Without credentials the line shows the overflow ids, never root's.
            Err(_) => Self::Process {
                uid: 65_534,
                gid: 65_534,
                pid: 0,
                groups: Vec::new(),
            },
        }
    }

    /// The same, with what its certificate says.
    pub(super) fn with_subject(mut self, own: Option<String>) -> Self {
        if let Self::Network { subject, .. } = &mut self {
            *subject = own;
        }
        self
    }
}

/// The groups of the process at the other end of a socket: the main one, and the more of them that
/// the kernel kept when it connected (`SO_PEERGROUPS`, which no library has).
fn groups(socket: BorrowedFd<'_>, main: u32) -> Vec<u32> {
    let mut groups = vec![0_u32; USUAL];
    // A list that does not fit is answered with the room that it needs, and does not change any more.
    for _ in 0..2 {
        match peer_groups(socket, &mut groups) {
            Ok(count) => {
                groups.truncate(count);
                groups.push(main);
                return groups;
            }
            Err(needed) => groups.resize(needed, 0),
        }
    }
    vec![main]
}

/// How many groups there are; an error says for how many there must be room, 0: nobody knows.
fn peer_groups(socket: BorrowedFd<'_>, groups: &mut [u32]) -> Result<usize, usize> {
    let mut bytes = libc::socklen_t::try_from(size_of_val(groups)).unwrap_or_default();
    // SAFETY: the buffer is as long as `bytes` says, and its items may hold any bits.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut bytes,
        )
    };
    let count = bytes as usize / size_of::<u32>();
    match got {
        0 => Ok(count),
        _ if std::io::Error::last_os_error().raw_os_error() == Some(libc::ERANGE) => Err(count),
        _ => Err(0),
    }
}
