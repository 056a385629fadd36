//! Claims a source port: the reply entry goes in under a key that nobody else has, and whoever
//! inserts it owns the port.

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_prandom_u32, generated::bpf_loop};
use harbor_common::{
    backend::{Backend, SOURCE_ADDRESSES, Sources},
    checksum,
    flow::{Flow, FlowKey, Phase},
    protocol::Protocol,
    share::Share,
    verdict::{DropReason, Verdict},
};

use crate::{
    bound::masked,
    config,
    family::Stack,
    maps::{BACKENDS, Context, SOURCES},
    table::{self, RACE, enter, retire},
};

/// How often a source port is drawn before giving up.
const DRAWS: u32 = 32;
/// How many of these draws only try, without looking at who has the port.
const HASTY_DRAWS: u32 = 4;
/// From this draw on few source ports are free.
const URGENT_DRAWS: u32 = 20;
/// A flow that nobody has answered for this long may lose its source port to a new one.
const HALF_OPEN_NS: u64 = 1_000_000_000;
/// The same where few source ports are free.
const URGENT_NS: u64 = 250_000_000;
/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// Enters the reply direction under a source that nobody else has towards this backend.
///
/// The client's own port comes first if it lies in the range; then independent draws, because a
/// constant stride clusters. Each draw takes another of the addresses that the backend may see.
#[inline(always)]
pub fn claim<A: Stack>(context: &mut Context<A>) -> Result<(), Verdict> {
    let backend = BACKENDS.get(context.backend).ok_or(RACE)?;
    let sources = sources::<A>(context.share, backend).ok_or(RACE)?;
    if sources.count == 0 {
        return Err(Verdict::Drop(DropReason::SourcePorts));
    }
    let mut draws = Draws {
        context,
        sources,
        // SAFETY: the helper takes nothing and cannot fail.
        first: unsafe { bpf_get_prandom_u32() },
        error: EEXIST,
    };
    let step = draw::<A> as unsafe extern "C" fn(u64, *mut c_void) -> i64;
    // SAFETY: the callback takes what it is given here, which outlives the call.
    unsafe { bpf_loop(DRAWS, step as *mut c_void, (&raw mut draws).cast(), 0) };
    match draws.error {
        0 => Ok(()),
        EEXIST => Err(Verdict::Drop(DropReason::SourcePorts)),
        _ => Err(Verdict::Drop(DropReason::FlowsFull)),
    }
}

/// The addresses that a flow may have towards its backend: those of the share that it came in by, which
/// move with it, or those of the way to the backend.
#[inline(always)]
fn sources<A: Stack>(share: u32, backend: &Backend) -> Option<&'static Sources> {
    if share != 0
        && let Some(own) = SOURCES.get(Share::sources::<A>(share))
        && own.count != 0
    {
        return Some(own);
    }
    SOURCES.get(backend.sources)
}

/// The search for a source; run by `bpf_loop`, so that the verifier looks at one draw only.
struct Draws<'a, A> {
    context: &'a mut Context<A>,
    sources: &'a Sources,
    /// Decides with which address the search begins.
    first: u32,
    /// How the latest draw ended: the kernel's error, or 0.
    error: i32,
}

/// One draw: whether the search is over.
///
/// # Safety
///
/// Called by `bpf_loop` with [`Draws`] of this family.
unsafe extern "C" fn draw<A: Stack>(index: u64, draws: *mut c_void) -> i64 {
    // SAFETY: by the caller.
    let draws = unsafe { &mut *draws.cast::<Draws<'_, A>>() };
    let draw = index as u32;
    let Context {
        parsed,
        reply,
        reply_key: key,
        ..
    } = &mut *draws.context;
    let arrived = &parsed.key;
    if draw > 0 || !config::is_source_port(arrived.source_port) {
        // SAFETY: the helper takes nothing and cannot fail.
        key.destination_port = config::source_port(unsafe { bpf_get_prandom_u32() });
    }
    key.destination = source(draws.sources, draws.first.wrapping_add(draw));
    (reply.address_delta, reply.port_delta) = checksum::deltas(key, arrived);
    draws.error = entered(key, &raw const *reply);
    // Looking at the holder costs a cache miss, so the first draws only try.
    let rest_ns = if draw < URGENT_DRAWS {
        HALF_OPEN_NS
    } else {
        URGENT_NS
    };
    if draws.error == EEXIST && draw >= HASTY_DRAWS && take_over(key, reply.seen_ns, rest_ns) {
        draws.error = entered(key, &raw const *reply);
    }
    i64::from(draws.error != EEXIST)
}

/// Enters the reply direction: the kernel's error, or 0.
#[inline(always)]
fn entered<A: Stack>(key: &FlowKey<A>, reply: *const Flow<A>) -> i32 {
    match enter(key, reply) {
        Ok(()) => 0,
        Err(error) => error,
    }
}

/// One of the addresses that the backend may see.
#[inline(always)]
fn source<A: Stack>(sources: &Sources, turn: u32) -> A {
    let position = if sources.count == 1 {
        0
    } else {
        turn % sources.count
    };
    A::of(&sources.addresses[masked::<{ SOURCE_ADDRESSES - 1 }>(position as usize)])
}

/// Ends the flow that holds a wanted source port if nobody will miss it: both sides have closed it,
/// or one has reset it, or it has been half-open for `rest_ns`, or was one question with one answer.
#[inline(never)]
fn take_over<A: Stack>(reply_key: &FlowKey<A>, now_ns: u64, rest_ns: u64) -> bool {
    let Some(holder) = A::flows().get_ptr(reply_key) else {
        return true;
    };
    // SAFETY: from the lookup above; the cookie says whether the other entry belongs to it.
    let (reply_word, reply_seen, key) = unsafe {
        (
            table::word(holder),
            (&raw const (*holder).seen_ns).read_volatile(),
            (*holder).opposite_key(reply_key.protocol),
        )
    };
    let Some(forward) = table::opposite(&key, reply_word) else {
        return false;
    };
    // SAFETY: from the lookup in `opposite`.
    let (word, seen) = unsafe {
        (
            table::word(forward),
            (&raw const (*forward).seen_ns).read_volatile(),
        )
    };
    let seen = if seen > reply_seen { seen } else { reply_seen };
    let idle_ns = now_ns.saturating_sub(seen);
    let is_over = match Phase::of(word, reply_word) {
        Phase::Closed | Phase::Reset => true,
        Phase::Opening => idle_ns > rest_ns,
        Phase::Live => reply_key.protocol == Protocol::Udp.number() && idle_ns > rest_ns,
        Phase::Stream | Phase::Dead => false,
    };
    is_over && retire(&key, word)
}
