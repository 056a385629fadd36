//! Backends that have failed a new flow get no other one for a while, if another can take it.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use harbor_common::{backend::BackendState, event::Suspicion, rules::backoff};

use crate::{
    config,
    maps::{BACKEND_STATE, EVENTS},
};

/// Whether a backend should get no new flow now.
#[inline(always)]
pub fn is_suspect(slot: u32, generation: u32, now: u64) -> bool {
    match BACKEND_STATE.get_ptr(slot) {
        // SAFETY: aligned words of a map value; a concurrent change is seen or not.
        Some(state) => unsafe {
            (*state).suspect_until_ns > now && (*state).generation == generation
        },
        None => false,
    }
}

/// Notes that a backend has failed a flow; `reason` is one of [`Suspicion`]'s constants.
#[inline(never)]
pub fn suspect(slot: u32, generation: u32, reason: u32, now: u64) -> bool {
    let Some(state) = BACKEND_STATE.get_ptr_mut(slot) else {
        return false;
    };
    if config::is_dry_run() {
        return true;
    }
    // SAFETY: aligned words of a map value that only the datapath writes; two CPUs that note the
    // same failure at once write the same.
    let state: &mut BackendState = unsafe { &mut *state };
    let is_known = state.generation == generation;
    if is_known && state.suspect_until_ns > now {
        return true;
    }
    let failures = if is_known { state.failures } else { 0 };
    state.generation = generation;
    state.failures = backoff::next(failures);
    state.suspect_until_ns = now + backoff::length_ns(failures);
    // The agent looks by itself, ten times a second. A full ring loses the event, never the packet.
    if let Some(mut event) = EVENTS.reserve(0) {
        event.write(Suspicion {
            at_ns: now,
            backend: slot,
            generation,
            reason,
            failures: backoff::next(failures),
        });
        event.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
    true
}

/// Notes that a backend has taken a flow.
#[inline(always)]
pub fn trust(slot: u32) {
    let Some(state) = BACKEND_STATE.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: as in `suspect`.
    unsafe {
        if (*state).failures != 0 && !config::is_dry_run() {
            (*state).failures = 0;
            (*state).suspect_until_ns = 0;
        }
    }
}
