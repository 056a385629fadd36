//! Shares of pools: public addresses that move between nodes together with their own translation
//! addresses, so that flows can go on at another node.

use crate::{
    addr::Family,
    maps::{SHARE_NUMBERS, SOURCE_LISTS},
};

/// What the datapath must know of a share; an element of `shares`, indexed by its number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Until when packets that continue an unknown flow are dropped silently, because its copy may still be
    /// on its way, `CLOCK_MONOTONIC` nanoseconds. [`Share::STANDBY`]: as long as another node has the share.
    pub held_until_ns: u64,
    /// Until when what would begin a flow is dropped, too: another node has the share, and an agent lives that says so,
    /// again and again. What comes here all the same comes by an old hardware address, and its answers would
    /// go to the other node.
    pub elsewhere_until_ns: u64,
}
crate::assert_size!(Share, 16);

impl Share {
    /// In `held_until_ns`: this node does not have the share's addresses.
    pub const STANDBY: u64 = u64::MAX;

    /// The element of `sources` that holds a share's translation addresses of one family.
    #[inline(always)]
    pub const fn sources<A: Family>(number: u32) -> u32 {
        sources_at(number, A::INDEX)
    }
}

/// As [`Share::sources`], by the family's index.
#[inline(always)]
pub const fn sources_at(number: u32, family: u32) -> u32 {
    SOURCE_LISTS as u32 + 2 * (number % SHARE_NUMBERS as u32) + family
}
