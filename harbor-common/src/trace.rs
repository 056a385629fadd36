//! What a traced packet was and what became of it, as the `traces` ring tells it.

/// A packet that was traced: as it came in, and as it was when the program was done with it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// `CLOCK_MONOTONIC` nanoseconds.
    pub at_ns: u64,
    /// The interface that it came in by.
    pub ifindex: u32,
    /// The interface that it leaves by; 0 = the programs do not send it.
    pub leaves_by: u32,
    /// The verdict's number.
    pub verdict: u32,
    /// Steps that were taken: a sum of the constants of [`Explanation`](crate::explain::Explanation).
    pub steps: u32,
    /// Octets of the frame as it came in.
    pub length: u32,
    /// Octets of the frame when the program was done.
    pub leaving_length: u32,
    /// The first octets as it came in, Ethernet header first, and right behind them those of when the
    /// program was done. The ring is told no more than these.
    pub octets: [u8; 2 * Self::OCTETS],
}
crate::assert_size!(Traced, 288);

impl Traced {
    /// Octets that are kept of each at most; a power of two.
    pub const OCTETS: usize = 128;
    /// Octets that stand before them.
    pub const HEAD: usize = core::mem::offset_of!(Self, octets);
    /// Octets of the ring while somebody traces.
    pub const RING_BYTES: u32 = 1 << 22;
    /// Octets of a ring that nobody reads: the least that the kernel makes.
    pub const UNUSED_BYTES: usize = 4_096;
    /// The ring's name in the object. It is not pinned: it belongs to the load that traces.
    pub const RING: &str = "traces";
}

/// The element of the `trace` map: what one processor tells, and how much of it.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Packets that were meant and are not told, because more came than may be told.
    pub missed: u64,
    /// The period in which `left` was filled.
    pub period: u64,
    /// The kernel's tick in which it was last found empty.
    pub tick: u64,
    /// How many more may be told before another period has to come.
    pub left: u32,
    /// Zero.
    pub _pad: u32,
    /// The packet that is in the program now.
    pub packet: Traced,
}
crate::assert_size!(Trace, 320);

impl Trace {
    /// The map's name in the object; not pinned, as the ring.
    pub const MAP: &str = "trace";
    /// Nanoseconds of a period, as a power of two: 67 ms.
    pub const PERIOD_BITS: u32 = 26;

    /// How many packets a period are so many a second, one at least.
    pub const fn budget(per_second: u32) -> u32 {
        let budget = ((per_second as u64) << Self::PERIOD_BITS) / 1_000_000_000;
        // A period is shorter than a second.
        if budget == 0 { 1 } else { budget as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_a_period_s_part_of_a_second_s() {
        assert_eq!(Trace::budget(1), 1);
        assert_eq!(Trace::budget(10_000), 671);
        assert_eq!(Trace::budget(u32::MAX), 288_230_376);
    }
}
