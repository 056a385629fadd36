//! How long a flow may be silent.

use std::time::Duration;

/// `[timeouts]`: after how much silence a flow is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timeouts {
    /// A flow that no backend has answered, or whose answer no client has taken: 6 s.
    pub(crate) opening: Duration,
    /// An established TCP flow: 2 h 4 min (RFC 5382).
    pub(crate) tcp_established: Duration,
    /// A TCP flow that both sides have closed: 30 s.
    pub(crate) tcp_closed: Duration,
    /// A TCP flow that one side has reset: 10 s.
    pub(crate) tcp_reset: Duration,
    /// A UDP flow of one direction: 30 s (RFC 4787).
    pub(crate) udp_single: Duration,
    /// A UDP flow of both directions: 180 s.
    pub(crate) udp_stream: Duration,
}

/// What flows in the kernel live by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) timeouts: Timeouts,
    /// `[policy].min_path_mtu`
    pub(crate) min_path_mtu: u32,
    /// `[policy].passive`
    pub(crate) is_passive: bool,
    /// `[policy].reverse_path` is `connected`.
    pub(crate) is_guarded: bool,
    pub(crate) shares: Shares,
}

/// `[limits]`: flows that are kept at once, both sides having shown that they use them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shares {
    pub(crate) port: u32,
    pub(crate) organization: u32,
    pub(crate) client: u32,
}

impl Shares {
    /// What is not said is a part of the table: of one family's flows, a quarter for a port, half for an
    /// organization, and a sixteenth for a client.
    pub(crate) fn or_parts_of(self, flows: u32) -> Self {
        let or = |said: u32, part: u32| {
            if said == 0 {
                (flows / part).max(1)
            } else {
                said
            }
        };
        Self {
            port: or(self.port, 4),
            organization: or(self.organization, 2),
            client: or(self.client, 16),
        }
    }
}
