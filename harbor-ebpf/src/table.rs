//! Operations on the flow tables that more than one stage needs.
//!
//! Elements of a preallocated hash are recycled at once, so whoever uses one copies it first and
//! then checks that its word has not changed. State changes only by compare-and-exchange; whoever
//! marks a flow dead also deletes it, and takes it out of the counts. The forward entry is the
//! master.

use aya_ebpf::bindings::BPF_NOEXIST;
use harbor_common::{
    flow::{Flow, FlowKey},
    verdict::{DropReason, Verdict},
};

use crate::{
    atomic, clients, config,
    family::Stack,
    maps::{BACKEND_STATE, BACKENDS, FRONTEND_STATE},
};

/// Another CPU was faster.
pub const RACE: Verdict = Verdict::Drop(DropReason::FlowRace);

/// How often to mark a flow whose word other CPUs change.
const KEPT_TRIES: u32 = 3;

/// The word of an entry as it is now.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run; values of recycled elements stay readable.
#[inline(always)]
pub unsafe fn word<A>(entry: *const Flow<A>) -> u64 {
    // SAFETY: by the caller.
    unsafe { (&raw const (*entry).word).read_volatile() }
}

/// Changes state bits of an entry, which must still belong to the flow with this word.
#[inline(always)]
pub fn change_state<A>(
    entry: *mut Flow<A>,
    word: u64,
    adds: u64,
    clears: u64,
) -> Result<(), Verdict> {
    if (word | adds) & !clears == word {
        return unchanged(entry, word);
    }
    // SAFETY: the word is aligned to 8 and stands in a map value.
    let pointer = unsafe { &raw mut (*entry).word };
    // SAFETY: as above.
    if unsafe { atomic::compare_exchange(pointer, word, (word | adds) & !clears) } {
        return Ok(());
    }
    // Another CPU was faster. If the flow is the same, one more try suffices.
    // SAFETY: as above.
    let found = unsafe { pointer.read_volatile() };
    let new = (found | adds) & !clears;
    if Flow::<A>::cookie(found) == Flow::<A>::cookie(word)
        && found & Flow::<A>::DEAD == 0
        // SAFETY: as above.
        && unsafe { atomic::compare_exchange(pointer, found, new) }
    {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// Marks the flow of a forward entry as kept, or as not kept; whether this call did.
#[inline(always)]
pub fn set_kept<A>(entry: *mut Flow<A>, word: u64, is_kept: bool) -> bool {
    // SAFETY: the word is aligned to 8 and stands in a map value.
    let pointer = unsafe { &raw mut (*entry).word };
    for _ in 0..KEPT_TRIES {
        // SAFETY: as above.
        let found = unsafe { pointer.read_volatile() };
        let new = if is_kept {
            found | Flow::<A>::KEPT
        } else {
            found & !Flow::<A>::KEPT
        };
        let is_other = Flow::<A>::cookie(found) != Flow::<A>::cookie(word);
        if new == found || is_other || found & Flow::<A>::DEAD != 0 {
            return false;
        }
        // SAFETY: as above.
        if unsafe { atomic::compare_exchange(pointer, found, new) } {
            return true;
        }
    }
    false
}

/// Checks that the element was not recycled while it was copied.
#[inline(always)]
pub fn unchanged<A>(entry: *mut Flow<A>, word: u64) -> Result<(), Verdict> {
    // SAFETY: from a lookup of this program run.
    let found = unsafe { self::word(entry) };
    if Flow::<A>::cookie(found) == Flow::<A>::cookie(word) && found & Flow::<A>::DEAD == 0 {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// The entry of a flow's other direction, if it is still there.
#[inline(always)]
pub fn opposite<A: Stack>(key: &FlowKey<A>, word: u64) -> Option<*mut Flow<A>> {
    let entry = A::flows().get_ptr_mut(key)?;
    // SAFETY: from the lookup above; the cookie says whose it is.
    let found = unsafe { self::word(entry) };
    (Flow::<A>::cookie(found) == Flow::<A>::cookie(word)).then_some(entry)
}

/// Enters one direction if nobody has its key; the kernel's error otherwise.
#[inline(always)]
pub fn enter<A: Stack>(key: &FlowKey<A>, flow: *const Flow<A>) -> Result<(), i32> {
    if config::is_dry_run() {
        return Ok(());
    }
    // SAFETY: points to the flow that the caller has filled in.
    A::flows().insert(key, unsafe { &*flow }, u64::from(BPF_NOEXIST))
}

/// Takes one direction out.
#[inline(always)]
pub fn remove<A: Stack>(key: &FlowKey<A>) {
    if !config::is_dry_run() {
        let _ = A::flows().remove(key);
    }
}

/// Ends the flow that this forward entry belongs to, if its word still is `word`; whether this call
/// did.
#[inline(never)]
pub fn retire<A: Stack>(key: &FlowKey<A>, word: u64) -> bool {
    let Some(entry) = A::flows().get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the word is aligned to 8 and stands in a map value.
    let pointer = unsafe { &raw mut (*entry).word };
    // SAFETY: as above.
    if !unsafe { atomic::compare_exchange(pointer, word, word | Flow::<A>::DEAD) } {
        return false;
    }
    // SAFETY: from the lookup above; dead entries are deleted by this call alone.
    let flow: &Flow<A> = unsafe { &*entry };
    let opposite_key = flow.opposite_key(key.protocol);
    if word & Flow::<A>::KEPT != 0 {
        clients::release(flow.frontend, &key.source);
    }
    let mut ended = Ended {
        frontend: flow.frontend,
        backend: flow.backend,
        generation: flow.backend_generation,
        forward: (flow.packets, flow.bytes),
        reply: (0, 0),
    };
    if let Some(reply) = opposite(&opposite_key, word) {
        // SAFETY: from the lookup above.
        ended.reply = unsafe { ((*reply).packets, (*reply).bytes) };
        remove(&opposite_key);
    }
    remove(key);
    uncount(&ended);
    true
}

/// A flow that has ended, for the counts.
struct Ended {
    frontend: u32,
    backend: u32,
    generation: u32,
    /// Packets and bytes.
    forward: (u64, u64),
    reply: (u64, u64),
}

/// Takes a flow out of its port's and its backend's counts. The next backend in a slot begins with
/// empty counts, so a flow of the former one is not taken out of them.
#[inline(always)]
fn uncount(ended: &Ended) {
    if let Some(state) = FRONTEND_STATE.get_ptr_mut(ended.frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::subtract(&raw mut (*state).flows) };
    }
    let is_tenant = match BACKENDS.get(ended.backend) {
        Some(backend) => backend.generation == ended.generation,
        None => false,
    };
    if is_tenant && let Some(state) = BACKEND_STATE.get_ptr_mut(ended.backend) {
        // SAFETY: fields of a map value, aligned to 8.
        unsafe {
            atomic::subtract(&raw mut (*state).flows);
            atomic::add(&raw mut (*state).ended, 1);
            atomic::add(&raw mut (*state).forward_packets, ended.forward.0);
            atomic::add(&raw mut (*state).forward_bytes, ended.forward.1);
            atomic::add(&raw mut (*state).reply_packets, ended.reply.0);
            atomic::add(&raw mut (*state).reply_bytes, ended.reply.1);
        }
    }
}

/// Ends the flow that either of its entries belongs to; `key`, `word` and `direction` are of the
/// entry at hand.
#[inline(always)]
pub fn retire_either<A: Stack>(
    key: &FlowKey<A>,
    word: u64,
    direction: u16,
    opposite_key: &FlowKey<A>,
) -> bool {
    if direction == Flow::<A>::FORWARD {
        return retire(key, word);
    }
    match opposite(opposite_key, word) {
        // SAFETY: from the lookup in `opposite`.
        Some(forward) => retire(opposite_key, unsafe { self::word(forward) }),
        None => {
            // A remnant: nobody else will take it out.
            remove(key);
            true
        }
    }
}
