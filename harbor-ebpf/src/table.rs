//! Operations on the flow table that more than one stage needs.
//!
//! Elements of a preallocated hash are recycled at once, so whoever uses one copies it first and
//! then checks that its word has not changed. State changes only by compare-and-exchange; whoever
//! turns a flow dead deletes it. The forward entry is the master.

use harbor_common::{
    flow::{Flow, FlowKey},
    verdict::{DropReason, Verdict},
};

use crate::{atomic, maps::FLOWS};

/// Another CPU was faster.
pub const RACE: Verdict = Verdict::Drop(DropReason::FlowRace);

/// Sets state bits of an entry that must still be the one that was read.
#[inline(always)]
pub fn add_state(entry: *mut Flow, word: u64, adds: u64) -> Result<(), Verdict> {
    if word & adds == adds {
        return unchanged(entry, word);
    }
    // SAFETY: the word is aligned to 8 and stands in a map value.
    let word_pointer = unsafe { &raw mut (*entry).word };
    // SAFETY: as above.
    if unsafe { atomic::compare_exchange(word_pointer, word, word | adds) } {
        return Ok(());
    }
    // Another CPU was faster. If the flow is the same, one more try suffices: the states only grow.
    // SAFETY: as above.
    let found = unsafe { word_pointer.read_volatile() };
    if Flow::cookie(found) == Flow::cookie(word)
        && found & Flow::DEAD == 0
        // SAFETY: as above.
        && unsafe { atomic::compare_exchange(word_pointer, found, found | adds) }
    {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// Checks that the element was not recycled while it was copied.
#[inline(always)]
pub fn unchanged(entry: *mut Flow, word: u64) -> Result<(), Verdict> {
    // SAFETY: from a lookup of this program run; values of recycled elements stay readable.
    let found = unsafe { (&raw const (*entry).word).read_volatile() };
    if Flow::cookie(found) == Flow::cookie(word) && found & Flow::DEAD == 0 {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// Ends the flow that this entry belongs to, if its word still is `word`; whether this call did.
#[inline(always)]
pub fn retire(key: &FlowKey, word: u64) -> bool {
    let Some(entry) = FLOWS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the word is aligned to 8 and stands in a map value.
    if !unsafe { atomic::compare_exchange(&raw mut (*entry).word, word, word | Flow::DEAD) } {
        return false;
    }
    // SAFETY: from the lookup above; dead entries are deleted by this call alone.
    let opposite_key = unsafe { (*entry).opposite_key(key.protocol) };
    if let Some(opposite) = FLOWS.get_ptr(opposite_key) {
        // SAFETY: from the lookup above.
        let other = unsafe { (&raw const (*opposite).word).read_volatile() };
        if Flow::cookie(other) == Flow::cookie(word) {
            let _ = FLOWS.remove(opposite_key);
        }
    }
    let _ = FLOWS.remove(key);
    true
}
