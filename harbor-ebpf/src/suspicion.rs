//! Backends that have failed a client's flow.
//!
//! What one flow has met moves that flow and no other. The agent is told, and asks the backend
//! itself. While no agent runs, the failures of two clients with no success in between keep new
//! flows away for a while, as long as enough other backends can take them.

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use harbor_common::{
    addr::Ip, backend::BackendState, control::Control, event::Sighting, flow::OPENED_SHIFT,
    rules::backoff,
};

use crate::{
    config,
    maps::{BACKEND_STATE, EVENTS},
    route,
};

/// Whether new flows avoid a backend now because of what was seen while no agent ran.
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

/// Whether an agent runs, which then judges backends.
#[inline(always)]
pub fn is_judged(now: u64) -> bool {
    match route::control() {
        Some(control) => control.valid_until_ns > now,
        None => false,
    }
}

/// Takes note of a failure that a client's flow has met.
#[inline(never)]
pub fn testify(sighting: &mut Sighting) -> bool {
    let (Some(state), Some(control)) = (
        BACKEND_STATE.get_ptr_mut(sighting.backend),
        route::control(),
    ) else {
        return false;
    };
    if config::is_dry_run() || control.flags & Control::IMPASSIVE != 0 {
        return false;
    }
    // SAFETY: aligned words of a map value that only the datapath writes; of two CPUs that note
    // something at once one may go unheard.
    let state: &mut BackendState = unsafe { &mut *state };
    if state.generation != sighting.generation {
        state.generation = sighting.generation;
        (state.failures, state.suspect_until_ns) = (0, 0);
        (state.witness, state.told) = (0, 0);
    }
    let time = (sighting.at_ns >> OPENED_SHIFT) as u32;
    let client = subscriber(&sighting.client);
    let is_first = state.witness == 0 || time.wrapping_sub(state.witnessed) > Sighting::MEMORY;
    let is_confirmed = !is_first
        && state.witness != client
        && time.wrapping_sub(state.witnessed) > Sighting::SETTLING;
    if is_first {
        (state.witness, state.witnessed) = (client, time);
    }
    sighting.witnesses = 1 + u32::from(is_confirmed);
    let is_due = time.wrapping_sub(state.told) > Sighting::GAP;
    if is_confirmed {
        state.witness = 0;
        let is_judged = control.valid_until_ns > sighting.at_ns;
        if !is_judged && sighting.has_room != 0 && state.suspect_until_ns <= sighting.at_ns {
            state.suspect_until_ns = sighting.at_ns + backoff::length_ns(state.failures);
            state.failures = backoff::next(state.failures);
        }
    }
    if is_confirmed || is_due {
        state.told = time;
        tell(sighting);
    }
    true
}

/// Reports to the agent, which reads the ring ten times a second and is not woken.
#[inline(always)]
fn tell(sighting: &Sighting) {
    if let Some(mut event) = EVENTS.reserve(0) {
        event.write(*sighting);
        event.submit(u64::from(BPF_RB_NO_WAKEUP));
    }
}

/// A hash of who a client is: one subscriber has a whole network of IPv6 addresses. Never 0.
#[inline(always)]
fn subscriber(client: &Ip) -> u32 {
    let octets = &client.octets;
    let word = |at: usize| {
        u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    let network = word(0) ^ word(4).rotate_left(13);
    // All IPv4 addresses have the same words in front of them.
    let host = if client.is_v4() { word(12) } else { 0 };
    (network ^ host).wrapping_mul(0x9e37_79b1) | 1
}

/// Notes that a backend has accepted a flow.
#[inline(always)]
pub fn trust(slot: u32) {
    let Some(state) = BACKEND_STATE.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: as in `testify`.
    unsafe {
        if (*state).failures | (*state).witness != 0 && !config::is_dry_run() {
            (*state).failures = 0;
            (*state).witness = 0;
            (*state).suspect_until_ns = 0;
        }
    }
}
