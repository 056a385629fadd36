//! Ends flows that the agent saw expire.

use harbor_common::flow::{Expired, Flow};

use crate::{maps::FLOWS, table};

/// Ends a flow that the agent saw expire, if no packet has come since.
#[inline(always)]
pub fn expire(expired: &Expired) -> bool {
    let Some(entry) = FLOWS.get_ptr(expired.key) else {
        return false;
    };
    // SAFETY: from the lookup above.
    let flow = unsafe { entry.read_volatile() };
    let mut seen_ns = flow.seen_ns;
    if let Some(opposite) = FLOWS.get_ptr(flow.opposite_key(expired.key.protocol)) {
        // SAFETY: from the lookup above.
        let (word, seen) = unsafe {
            (
                (&raw const (*opposite).word).read_volatile(),
                (&raw const (*opposite).seen_ns).read_volatile(),
            )
        };
        if Flow::cookie(word) == Flow::cookie(flow.word) {
            seen_ns = seen_ns.max(seen);
        }
    }
    seen_ns == expired.seen_ns && table::retire(&expired.key, expired.word)
}
