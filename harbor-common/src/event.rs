//! What the datapath tells the agent by itself, through the `events` ring.

/// A backend has failed a new flow, and gets no other one for a while if another backend can take
/// it.
///
/// Written when a suspicion begins, never per packet. A ring that is full loses events and nothing
/// else: the suspicion itself is in `backend_state`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    /// `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub at_ns: u64,
    /// Element of `backends`.
    pub backend: u32,
    /// Its tenant.
    pub generation: u32,
    /// One of the constants below.
    pub reason: u32,
    /// Failures in a row, this one among them.
    pub failures: u32,
}
crate::assert_size!(Suspicion, 24);

impl Suspicion {
    /// An ICMP error said that it cannot be reached.
    pub const UNREACHABLE: u32 = 0;
    /// It has not answered a SYN, and the client asked again.
    pub const SILENT: u32 = 1;
    /// It has answered a SYN with a reset.
    pub const REFUSED: u32 = 2;
}
