//! Chooses the backend of a new flow.

use harbor_common::{
    backend::Backend,
    frontend::{Frontend, Policy, SET_BACKENDS},
    verdict::{DropReason, Verdict},
};

use crate::{
    atomic,
    maps::{BACKEND_SETS, BACKENDS, CURSORS},
};

/// The backend that a new flow gets.
pub struct Choice {
    /// Its slot in the `backends` array.
    pub slot: u32,
    /// What stood there.
    pub backend: Backend,
}

/// Applies the frontend's policy to its set in force.
#[inline(always)]
pub fn select(frontend: &Frontend) -> Result<Choice, Verdict> {
    const NONE: Verdict = Verdict::Drop(DropReason::NoBackend);

    let set = BACKEND_SETS.get(frontend.set_index()).ok_or(NONE)?;
    let count = u64::from(set.count);
    if count == 0 {
        return Err(NONE);
    }
    let turn = if set.policy == Policy::RoundRobin as u32 {
        next_turn(frontend.slot) % count
    } else {
        0
    };
    // The mask shows the verifier that the index is inside the set.
    let slot = set.backends[turn as usize & (SET_BACKENDS - 1)];
    let backend = *BACKENDS.get(slot).ok_or(NONE)?;
    if backend.state != Backend::ACTIVE {
        // The agent has begun to remove it and is about to flip to the set without it.
        return Err(NONE);
    }
    Ok(Choice { slot, backend })
}

#[inline(always)]
fn next_turn(slot: u32) -> u64 {
    match CURSORS.get_ptr_mut(slot) {
        // SAFETY: an element of the map, aligned to 8.
        Some(cursor) => unsafe { atomic::fetch_add(cursor, 1) },
        None => 0,
    }
}
