//! What the datapath reports to the agent unasked, through the `events` ring.

use crate::{addr::Ip, rules::witnesses};

/// A backend has failed a client's flow.
///
/// That flow moves. Whether others should avoid the backend is for the agent to find out; only while no
/// agent runs does the datapath decide, by the flows of two clients. At most one is written for each
/// backend in [`Sighting::GAP`], never one per packet. A ring that is full loses events, nothing else.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub at_ns: u64,
    /// Element of `backends`.
    pub backend: u32,
    /// The slot's generation.
    pub generation: u32,
    /// One of the constants below.
    pub reason: u32,
    /// 1: the port has enough other backends to do without this one.
    pub has_room: u32,
    /// Whose flow it was.
    pub client: Ip,
    /// How many clients have met this, with no success in between: 1 or 2.
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

    /// The least time between two reports about a backend, in the units of
    /// [`crate::flow::Flow::opened`]; the report of a second client is exempt.
    pub const GAP: u32 = 50;
    /// How long a flow has to be taken before a second client's failure confirms the first: two packets that
    /// arrive together are worth no more than one.
    pub const SETTLING: u32 = witnesses::SETTLING;
    /// How long one client's failure counts while a second client's is awaited, in the same units: ten
    /// seconds.
    pub const MEMORY: u32 = witnesses::MEMORY;
}
