//! The descriptors that the proxy may have: how many, how many it has, and the ones it keeps back.
//!
//! The process shares one limit with the rest of the agent, which needs its files and sockets when
//! clients are at their worst: a part of the limit is never given to clients. Every descriptor of the
//! proxy is a [`Descriptor`], so that the count is right whichever way it is closed.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};

/// The most that is kept back for the rest of the agent; with the programs in the kernel it has about
/// 80 at rest.
const RESERVE: u64 = 256;

/// Counts descriptors against the limit.
#[derive(Debug)]
pub(crate) struct Ledger {
    used: AtomicU64,
    limit: u64,
}

impl Ledger {
    /// Raises the process's limit as far as it may go, and keeps a part of it back.
    pub(crate) fn of_process() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        let most = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => maximum,
            Err(_) => current,
        };
        let most = most.unwrap_or(u64::MAX);
        Self::new(most - RESERVE.min(most / 2))
    }

    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    /// Whether there is room for so many more.
    pub(crate) fn has_room(&self, count: u64) -> bool {
        self.used() + count <= self.limit
    }

    /// How many of them sockets of numbers may be; the others are the connections'.
    pub(crate) fn seats(&self) -> u64 {
        self.limit - self.limit / 4
    }

    /// The process's limit with which there may be so many seats, and so many more than now.
    pub(crate) fn needed(&self, seats: u64, more: u64) -> u64 {
        let with_connections = (seats * 4).div_ceil(3);
        with_connections.max(self.used() + more) + RESERVE
    }

    /// Counts a descriptor, which must be open.
    pub(crate) fn enter(self: &Arc<Self>, fd: OwnedFd) -> Descriptor {
        self.used.fetch_add(1, Relaxed);
        Descriptor {
            fd,
            ledger: Arc::clone(self),
        }
    }
}

/// An open descriptor that is counted.
#[derive(Debug)]
pub(crate) struct Descriptor {
    fd: OwnedFd,
    ledger: Arc<Ledger>,
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.ledger.used.fetch_sub(1, Relaxed);
    }
}

/// Whether the kernel has no descriptor or no memory for one now.
pub(crate) fn is_scarcity(error: Errno) -> bool {
    matches!(
        error,
        Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_descriptor_makes_room() {
        let ledger = Arc::new(Ledger::new(1));
        let file = std::fs::File::open("/dev/null").unwrap();
        let held = ledger.enter(file.into());
        assert_eq!((ledger.used(), ledger.has_room(1)), (1, false));
        drop(held);
        assert_eq!((ledger.used(), ledger.has_room(1)), (0, true));
    }
}
