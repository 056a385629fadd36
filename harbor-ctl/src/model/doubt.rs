//! What clients' own flows have shown of a backend.

use std::net::SocketAddr;

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
