//! Counts what happens. Never changes a verdict: a counter that cannot be found is skipped.
//!
//! All counters are per CPU and a program is not interrupted by itself, so plain additions do.

use harbor_common::{flow::Flow, verdict::Verdict};

use crate::maps::{COUNTERS, VERDICTS};

/// Counts a packet's verdict.
#[inline(always)]
pub fn exit(verdict: Verdict) {
    if let Some(count) = VERDICTS.get_ptr_mut(verdict.number()) {
        // SAFETY: this CPU's own element.
        unsafe { *count += 1 };
    }
}

/// Counts a flow's beginning.
#[inline(always)]
pub fn opened(flow: &Flow) {
    if let Some(counters) = COUNTERS.get_ptr_mut(flow.frontend) {
        // SAFETY: this CPU's own element.
        unsafe { (*counters).flows += 1 };
    }
}

/// Counts a translated packet.
#[inline(always)]
pub fn translated(flow: &Flow, bytes: u32) {
    let Some(counters) = COUNTERS.get_ptr_mut(flow.frontend) else {
        return;
    };
    // SAFETY: this CPU's own element.
    let counters = unsafe { &mut *counters };
    if flow.direction == Flow::FORWARD {
        counters.forward_packets += 1;
        counters.forward_bytes += u64::from(bytes);
    } else {
        counters.reply_packets += 1;
        counters.reply_bytes += u64::from(bytes);
    }
}
