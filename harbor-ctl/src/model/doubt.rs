//! Evidence about a backend from clients' own flows.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::protocol::Protocol;

/// How a backend has failed a client's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    Unreachable,
    Silent,
    Refused,
    /// Nobody on its link answers for its address.
    NoNeighbour,
}

impl Doubt {
    /// One line.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "a client's packet was answered with ICMP unreachable",
            Self::Silent => "a client's SYN was not answered",
            Self::Refused => "a client's SYN was answered with a reset",
            Self::NoNeighbour => "nobody on its link answers for its address",
        }
    }
}

/// A backend of a (protocol, port), of which something was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Suspect {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
}

/// Who has seen it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Witness {
    /// A flow of this client.
    Client(IpAddr),
    /// A flow of somebody.
    Unknown,
    /// Flows of two clients, and none was taken in between.
    Several,
    /// This host itself, which has no way to the backend.
    Kernel,
}

/// What was seen of a backend, in the order in which it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) suspect: Suspect,
    pub(crate) witness: Witness,
    /// It has taken a flow, or how it has failed one.
    pub(crate) sight: Result<(), Doubt>,
}

/// What one who sees puts down for another who judges.
#[derive(Clone, Debug, Default)]
pub(crate) struct Testimony(Arc<Mutex<Vec<Evidence>>>);

/// What is kept for whoever asks; more is the same again.
const MOST: usize = 10_000;

impl Testimony {
    pub(crate) fn put(&self, evidence: Evidence) {
        let mut held = self.lock();
        if held.len() < MOST {
            held.push(evidence);
        }
    }

    /// What was put down since this was asked last.
    pub(crate) fn take(&self) -> Vec<Evidence> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Evidence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
