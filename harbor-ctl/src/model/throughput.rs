//! The traffic of a port now.

/// Bits per second from clients and to them, and flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Throughput {
    pub(crate) in_bps: u64,
    pub(crate) out_bps: u64,
    pub(crate) flows: u64,
}

impl Throughput {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            in_bps: self.in_bps + other.in_bps,
            out_bps: self.out_bps + other.out_bps,
            flows: self.flows + other.flows,
        }
    }
}
