//! Keeps track of free slots in the arrays.
//!
//! A slot is handed out again as late as possible: the search goes on behind the last one given, so
//! a packet that still looks at a former tenant's row has long finished.

use std::collections::BTreeSet;

/// The free slots of one array, smallest first from a moving hand.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    used: BTreeSet<u32>,
    capacity: u32,
    hand: u32,
}

impl Slots {
    /// An array with `capacity` elements of which `used` are taken.
    pub(crate) fn new(capacity: u32, used: impl IntoIterator<Item = u32>) -> Self {
        let used: BTreeSet<u32> = used.into_iter().collect();
        let hand = used.last().map_or(0, |last| last + 1);
        Self {
            used,
            capacity,
            hand,
        }
    }

    /// Takes a free slot; `None` when all are used.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.used.len() as u64 >= u64::from(self.capacity) {
            return None;
        }
        let start = self.hand % self.capacity;
        let slot = (start..self.capacity)
            .chain(0..start)
            .find(|slot| !self.used.contains(slot))?;
        self.used.insert(slot);
        self.hand = slot + 1;
        Some(slot)
    }

    /// Gives a slot back.
    pub(crate) fn release(&mut self, slot: u32) {
        self.used.remove(&slot);
    }
}
