//! What a traced packet was and what became of it, as the `traces` ring tells it.

/// A packet that was traced: as it came in, and as it was when the program was done with it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// The interface that it came in by.
    pub ifindex: u32,
    /// The verdict's number.
    pub verdict: u32,
    /// Octets of the frame as it came in; 0 = it is not traced.
    pub length: u32,
    /// Octets of the frame when the program was done.
    pub leaving_length: u32,
    /// The first octets as it came in, Ethernet header first.
    pub arriving: [u8; Self::OCTETS],
    /// The same when the program was done.
    pub leaving: [u8; Self::OCTETS],
}
crate::assert_size!(Traced, 280);

impl Traced {
    /// Octets that are kept of each; a power of two.
    pub const OCTETS: usize = 128;
    /// Octets of the ring while somebody traces.
    pub const RING_BYTES: u32 = 1 << 20;
    /// Octets of a ring that nobody reads: the least that the kernel makes.
    pub const UNUSED_BYTES: usize = 4_096;
    /// The ring's name in the object. It is not pinned: it belongs to the load that traces.
    pub const RING: &str = "traces";
}
