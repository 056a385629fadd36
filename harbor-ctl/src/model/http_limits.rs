//! How long a listener waits for those who connect, and how many of them it has at once.

use std::time::Duration;

/// What a listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HttpLimits {
    /// From the connection, or the first byte of a request, to the end of its head.
    pub(crate) header_timeout: Duration,
    /// Between requests, and while the other end takes nothing of an answer.
    pub(crate) idle_timeout: Duration,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Of one address (of IPv6: one /64) or one user of this machine.
    pub(crate) connections_per_peer: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            connections: 1_024,
            connections_per_peer: 64,
        }
    }
}
