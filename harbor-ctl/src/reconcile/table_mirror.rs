//! What the agent keeps between two runs of apply: the picture of the tables, what is free, and what
//! a packet may still read.

use std::collections::BTreeSet;

use harbor_common::maps::{BACKEND_SLOTS, FRONTEND_SLOTS, SOURCE_LISTS, TURN_TABLES};

use super::{actual::Actual, slots::Slots};

/// The number of lists of networks that can be told apart; one list has at least one entry.
const ACL_NUMBERS: u32 = 1 << 20;

/// Free elements of every table that has elements to give.
#[derive(Debug)]
pub(crate) struct Free {
    pub(crate) frontends: Slots,
    pub(crate) backends: Slots,
    pub(crate) sources: Slots,
    pub(crate) acls: Slots,
    pub(crate) turns: Slots,
}

/// The state of the tables, and what is known about their elements.
#[derive(Debug)]
pub(crate) struct TableMirror {
    pub(crate) actual: Actual,
    pub(crate) free: Free,
    /// Frontend slots whose sets out of force may still be read by a packet.
    pub(crate) unsettled: BTreeSet<u32>,
}

/// How many elements there are of what is limited by configuration in tests alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capacity {
    pub(crate) frontends: u32,
    pub(crate) backends: u32,
    pub(crate) turns: u32,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            frontends: FRONTEND_SLOTS as u32,
            backends: BACKEND_SLOTS as u32,
            turns: TURN_TABLES as u32,
        }
    }
}

impl TableMirror {
    /// A mirror of a kernel state that was just read.
    pub(crate) fn open(actual: Actual, capacity: Capacity) -> Self {
        let served = || actual.frontends.values();
        let frontends = served().map(|(frontend, _)| frontend.slot);
        let backends = actual.backends.values().map(|(slot, _)| *slot);
        let in_sets = served().flat_map(|(_, sets)| sets.iter().map(|set| set.turns));
        let listed = served().map(|(_, sets)| sets[0].limits.acl);
        let sources = actual.backends.values().map(|(_, row)| row.sources);
        // Element 0 of these means "none".
        let none = || [0].into_iter();
        let free = Free {
            frontends: Slots::new(capacity.frontends, frontends),
            backends: Slots::new(capacity.backends, backends),
            sources: Slots::new(SOURCE_LISTS as u32, none().chain(sources)),
            acls: Slots::new(
                ACL_NUMBERS,
                none().chain(listed).chain(actual.acls.keys().copied()),
            ),
            turns: Slots::new(capacity.turns, none().chain(in_sets)),
        };
        Self {
            free,
            unsettled: served().map(|(frontend, _)| frontend.slot).collect(),
            actual,
        }
    }
}
