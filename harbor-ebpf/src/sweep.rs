//! Ends expired flows: those that the agent names, and, while no agent runs, those that the
//! kernel's own timer finds.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_skb_load_bytes, generated::bpf_loop},
};
use harbor_common::{
    addr::{Family, Ip, Ipv4, Ipv6},
    backend::Backend,
    control::Control,
    flow::{Expired, Flow, FlowKey, Phase},
    protocol::Protocol,
};

use crate::{
    family::Stack,
    frontends,
    maps::BACKENDS,
    table::{self, opposite, remove, retire},
};

/// How many flows one list may name.
const LIST: u32 = 50;

/// A walk over the list of expired flows; run by `bpf_loop`, so that the verifier looks at one
/// element and not at every path through all of them, on which kernels before 6.8 give up.
struct List {
    skb: *mut __sk_buff,
    ended: u32,
}

/// Ends the flows that a list behind an Ethernet header names; the number of those ended.
#[inline(always)]
pub fn expire_all(skb: *mut __sk_buff) -> u32 {
    let mut list = List { skb, ended: 0 };
    let step: Step = expire_at;
    // SAFETY: the callback takes what it is given here, which outlives the call.
    unsafe { bpf_loop(LIST, step as *mut c_void, (&raw mut list).cast(), 0) };
    list.ended
}

type Step = unsafe extern "C" fn(u64, *mut c_void) -> i64;

/// Ends the flow that an element of the list names; 1 at the end of the list.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`List`].
unsafe extern "C" fn expire_at(index: u64, list: *mut c_void) -> i64 {
    const ETHERNET: u32 = 14;
    const LENGTH: u32 = size_of::<Expired>() as u32;
    // SAFETY: by the caller.
    let list = unsafe { &mut *list.cast::<List>() };
    let mut expired = MaybeUninit::<Expired>::uninit();
    let offset = ETHERNET + index as u32 * LENGTH;
    // SAFETY: the buffer is as large as the constant length says.
    let result =
        unsafe { bpf_skb_load_bytes(list.skb.cast(), offset, expired.as_mut_ptr().cast(), LENGTH) };
    if result != 0 {
        return 1;
    }
    // SAFETY: the helper has filled it, and any bytes are a valid value.
    if expire(unsafe { expired.assume_init_ref() }) {
        list.ended += 1;
    }
    0
}

/// Ends a flow that the agent names if no packet has come since, or in any case if the agent says
/// so.
#[inline(always)]
fn expire(expired: &Expired) -> bool {
    if expired.family == Ipv4::INDEX {
        expire_in::<Ipv4>(expired)
    } else {
        expire_in::<Ipv6>(expired)
    }
}

#[inline(always)]
fn expire_in<A: Stack>(expired: &Expired) -> bool {
    let wide = &expired.key;
    let ip = |address: Ipv6| {
        A::of(&Ip {
            octets: address.octets,
        })
    };
    let key = FlowKey {
        source: ip(wide.source),
        destination: ip(wide.destination),
        source_port: wide.source_port,
        destination_port: wide.destination_port,
        protocol: wide.protocol,
    };
    end(&key, expired.word, expired.seen_ns)
}

/// Ends the flow of a forward entry, or removes a reply entry that has lost its forward entry.
#[inline(never)]
fn end<A: Stack>(key: &FlowKey<A>, word: u64, seen_ns: u64) -> bool {
    let Some(entry) = A::flows().get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: from the lookup above.
    let (found, mut seen, other_key, direction) = unsafe {
        (
            table::word(entry),
            (&raw const (*entry).seen_ns).read_volatile(),
            (*entry).opposite_key(key.protocol),
            (*entry).direction,
        )
    };
    if Flow::<A>::cookie(found) != Flow::<A>::cookie(word) {
        return false;
    }
    let other = opposite(&other_key, found);
    if let Some(other) = other {
        // SAFETY: from the lookup in `opposite`.
        let later = unsafe { (&raw const (*other).seen_ns).read_volatile() };
        seen = if later > seen { later } else { seen };
    }
    if seen_ns != Expired::NOW && (seen != seen_ns || found != word) {
        return false;
    }
    if direction == Flow::<A>::FORWARD {
        retire(key, found)
    } else if other.is_none() {
        remove(key);
        true
    } else {
        false
    }
}

/// What the timer's walk over the tables hands to its callbacks.
#[repr(C)]
pub struct Walk {
    /// The time.
    pub now_ns: u64,
    /// How many flows this walk may still end.
    pub budget: u64,
}

/// How many flows one walk ends at most; the next walk follows about a second later.
pub const BUDGET: u64 = 8_192;

/// Looks at one entry on a walk over a table; 1 ends the walk.
///
/// # Safety
///
/// Called by `bpf_for_each_map_elem` with an entry of the family's table and a [`Walk`].
#[inline(always)]
pub unsafe fn visit<A: Stack>(key: *const c_void, entry: *mut c_void, walk: *mut c_void) -> i64 {
    // SAFETY: by the caller.
    let (key, entry, walk) = unsafe {
        (
            *key.cast::<FlowKey<A>>(),
            entry.cast::<Flow<A>>(),
            walk.cast::<Walk>(),
        )
    };
    // SAFETY: by the caller.
    let (word, direction, now) =
        unsafe { (table::word(entry), (*entry).direction, (*walk).now_ns) };
    // SAFETY: by the caller.
    let other_key = unsafe { (*entry).opposite_key(key.protocol) };
    let other = opposite(&other_key, word);
    if direction == Flow::<A>::REPLY {
        if other.is_none() {
            remove(&key);
        }
        return 0;
    }
    // SAFETY: by the caller, and from the lookup in `opposite`.
    let is_over = unsafe { is_over(&key, entry, other, word, now) };
    if is_over && retire(&key, word) {
        // SAFETY: by the caller.
        unsafe {
            (*walk).budget = (*walk).budget.wrapping_sub(1);
            if (*walk).budget == 0 {
                return 1;
            }
        }
    }
    0
}

/// Whether a flow has been silent for too long, or its backend is gone.
///
/// # Safety
///
/// The entries come from the table.
#[inline(always)]
unsafe fn is_over<A: Stack>(
    key: &FlowKey<A>,
    entry: *mut Flow<A>,
    other: Option<*mut Flow<A>>,
    word: u64,
    now: u64,
) -> bool {
    // SAFETY: by the caller.
    let (mut seen, backend, generation) = unsafe {
        (
            (*entry).seen_ns,
            (*entry).backend,
            (*entry).backend_generation,
        )
    };
    let mut reply = 0;
    if let Some(other) = other {
        // SAFETY: by the caller.
        let later = unsafe { (*other).seen_ns };
        // SAFETY: by the caller.
        reply = unsafe { table::word(other) };
        seen = if later > seen { later } else { seen };
    }
    let is_gone = match BACKENDS.get(backend) {
        Some(row) => row.generation != generation || row.state == Backend::GONE,
        None => true,
    };
    let Some(control) = crate::route::control() else {
        return is_gone;
    };
    let silence_s = silence_s::<A>(key, Phase::of(word, reply), control);
    is_gone || now.saturating_sub(seen) > u64::from(silence_s) * 1_000_000_000
}

/// How long the flow may be silent, by its port's setting or the node's.
#[inline(always)]
fn silence_s<A: Stack>(key: &FlowKey<A>, phase: Phase, control: &Control) -> u32 {
    let idle_s = Protocol::from_number(key.protocol)
        .and_then(|protocol| frontends::at(protocol, key.destination_port))
        .and_then(|frontend| frontends::set(&frontend, A::INDEX))
        .map_or(0, |set| set.limits.idle_s);
    phase.silence_s(key.protocol, idle_s, control)
}
