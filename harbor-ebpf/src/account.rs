//! Counts what happens. Never changes a verdict: a counter that cannot be found is skipped.
//!
//! All counters are per CPU and a program is not interrupted by itself, so plain additions suffice.

use harbor_common::{addr::Ipv4, explain::Explanation, flow::Flow, verdict::Verdict};

use crate::{
    config,
    maps::{COUNTERS, EXPLANATION, TRACE, VERDICTS},
};

/// Counts a packet's verdict; a dry run writes it down instead.
#[inline(always)]
pub fn exit(verdict: Verdict) {
    if config::is_dry_run() {
        if let Some(explanation) = EXPLANATION.get_ptr_mut(0) {
            // SAFETY: an element of the map, which one dry run at a time writes.
            unsafe { (*explanation).verdict = verdict.number() };
        }
        return;
    }
    if let Some(count) = VERDICTS.get_ptr_mut(verdict.number()) {
        // SAFETY: this CPU's own element.
        unsafe { *count += 1 };
    }
}

/// In a dry run, notes a step, and lets `note` write down what it found. Where somebody traces, notes the
/// step of the packet.
#[inline(always)]
pub fn step(step: u32, note: impl FnOnce(&mut Explanation)) {
    if !config::notes_steps() {
        return;
    }
    if config::is_dry_run()
        && let Some(explanation) = EXPLANATION.get_ptr_mut(0)
    {
        // SAFETY: an element of the map, which one dry run at a time writes.
        let explanation = unsafe { &mut *explanation };
        explanation.steps |= step;
        note(explanation);
    }
    traced(step);
}

/// Notes a step of a packet that somebody traces.
#[inline(always)]
fn traced(step: u32) {
    if config::traced_one_in() != 0
        && let Some(trace) = TRACE.get_ptr_mut(0)
    {
        // SAFETY: this CPU's own element, which one run of the program at a time holds.
        unsafe { (*trace).packet.steps |= step };
    }
}

/// Counts a flow's beginning.
#[inline(always)]
pub fn opened(frontend: u32) {
    if config::is_dry_run() {
        return;
    }
    if let Some(counters) = COUNTERS.get_ptr_mut(frontend) {
        // SAFETY: this CPU's own element.
        unsafe { (*counters).flows += 1 };
    }
}

/// Counts a translated packet.
#[inline(always)]
pub fn translated(frontend: u32, direction: u16, bytes: u32) {
    if config::is_dry_run() {
        return;
    }
    let Some(counters) = COUNTERS.get_ptr_mut(frontend) else {
        return;
    };
    // SAFETY: this CPU's own element.
    let counters = unsafe { &mut *counters };
    if direction == Flow::<Ipv4>::FORWARD {
        counters.forward_packets += 1;
        counters.forward_bytes += u64::from(bytes);
    } else {
        counters.reply_packets += 1;
        counters.reply_bytes += u64::from(bytes);
    }
}
