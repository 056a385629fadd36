//! What clients' own flows have shown of a backend.

use std::net::{IpAddr, SocketAddr};

use super::Protocol;

/// How a backend has failed a client's flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    Unreachable,
    Silent,
    Refused,
}

impl Doubt {
    /// One line.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Unreachable => "a client's packet was answered with ICMP unreachable",
            Self::Silent => "a client's SYN was not answered",
            Self::Refused => "a client's SYN was answered with a reset",
        }
    }
}

/// A backend that has failed a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DoubtReport {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
    pub(crate) address: SocketAddr,
    pub(crate) doubt: Doubt,
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

impl From<DoubtReport> for Evidence {
    fn from(report: DoubtReport) -> Self {
        Self {
            suspect: Suspect {
                protocol: report.protocol,
                port: report.port,
                address: report.address,
            },
            witness: Witness::Unknown,
            sight: Err(report.doubt),
        }
    }
}
