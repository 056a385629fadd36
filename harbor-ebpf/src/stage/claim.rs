//! Claims a source port: the reply entry goes in under a key that nobody else has, and whoever
//! inserts it owns the port.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use harbor_common::{
    backend::{SOURCE_ADDRESSES, Sources},
    checksum,
    flow::{FlowKey, Phase},
    protocol::Protocol,
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
/// How many of them only try, without looking at who has the port.
const HASTY_DRAWS: u32 = 4;
/// A flow that nobody has answered for this long may lose its source port to a new one.
const HALF_OPEN_NS: u64 = 1_000_000_000;
/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// Enters the reply direction under a source that nobody else has towards this backend.
///
/// The client's own port comes first if it lies in the range; then independent draws, because a
/// constant stride clusters. Each draw takes another of the addresses that the backend may see.
#[inline(always)]
pub fn claim<A: Stack>(context: &mut Context<A>) -> Result<(), Verdict> {
    let Context {
        parsed,
        reply,
        reply_key: key,
        ..
    } = context;
    let backend = BACKENDS.get(context.backend).ok_or(RACE)?;
    let sources = SOURCES.get(backend.sources).ok_or(RACE)?;
    if sources.count == 0 {
        return Err(Verdict::Drop(DropReason::SourcePorts));
    }
    let arrived = &parsed.key;
    // SAFETY: the helper takes nothing and cannot fail.
    let first = unsafe { bpf_get_prandom_u32() };
    for draw in 0..DRAWS {
        if draw > 0 || !config::is_source_port(arrived.source_port) {
            // SAFETY: as above.
            key.destination_port = config::source_port(unsafe { bpf_get_prandom_u32() });
        }
        key.destination = source(sources, first.wrapping_add(draw));
        reply.address_delta = checksum::fold(
            checksum::delta_address(&key.source, &arrived.destination)
                + checksum::delta_address(&key.destination, &arrived.source),
        );
        reply.port_delta = checksum::fold(
            checksum::delta_port(key.source_port, arrived.destination_port)
                + checksum::delta_port(key.destination_port, arrived.source_port),
        );
        match enter(key, &raw const *reply) {
            Ok(()) => return Ok(()),
            Err(EEXIST) => {}
            Err(_) => return Err(Verdict::Drop(DropReason::FlowsFull)),
        }
        // Looking at the holder costs a cold line, so the first draws only try.
        if draw >= HASTY_DRAWS
            && take_over(key, reply.seen_ns)
            && enter(key, &raw const *reply).is_ok()
        {
            return Ok(());
        }
    }
    Err(Verdict::Drop(DropReason::SourcePorts))
}

/// One of the addresses that backends may see.
#[inline(always)]
fn source<A: Stack>(sources: &Sources, turn: u32) -> A {
    let position = if sources.count == 1 {
        0
    } else {
        turn % sources.count
    };
    A::of(&sources.addresses[masked::<{ SOURCE_ADDRESSES - 1 }>(position as usize)])
}

/// Ends the flow that holds a wanted source port if nobody will miss it: both sides have closed
/// it, or it has been half-open for a while, or it was one question with one answer.
#[inline(never)]
fn take_over<A: Stack>(reply_key: &FlowKey<A>, now_ns: u64) -> bool {
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
        Phase::Opening => idle_ns > HALF_OPEN_NS,
        Phase::Live => reply_key.protocol == Protocol::Udp.number() && idle_ns > HALF_OPEN_NS,
        Phase::Stream | Phase::Dead => false,
    };
    is_over && retire(&key, word)
}
