//! What the datapath tells the agent by itself, through the `events` ring.

use crate::addr::Ip;

/// A backend has failed a client's flow.
///
/// That flow moves; whether the backend is taken from others the agent finds out, and only where no
/// agent lives does the datapath judge by the flows of two clients. At most one is written a backend
/// in [`Sighting::GAP`], never one per packet. A ring that is full loses events and nothing else.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub at_ns: u64,
    /// Element of `backends`.
    pub backend: u32,
    /// Its tenant.
    pub generation: u32,
    /// One of the constants below.
    pub reason: u32,
    /// 1: other backends of the port are left if this one is taken from it.
    pub has_room: u32,
    /// Whose flow it was.
    pub client: Ip,
    /// How many clients say so, with no flow taken in between: 1 or 2.
    pub witnesses: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Sighting, 48);

impl Sighting {
    /// An ICMP error said that it cannot be reached.
    pub const UNREACHABLE: u32 = 0;
    /// It has not answered a SYN, and the client asked again.
    pub const SILENT: u32 = 1;
    /// It has answered a SYN with a reset.
    pub const REFUSED: u32 = 2;

    /// No two of a backend are closer, in the units of [`crate::flow::Flow::opened`], but for the word
    /// of a second client.
    pub const GAP: u32 = 50;
    /// How long a flow has to be taken before another client's word confirms the first: two packets that
    /// come together are no more than one.
    pub const SETTLING: u32 = 200;
    /// How long a client's word waits for another's, in the same units: ten seconds.
    pub const MEMORY: u32 = 9_537;
}
