//! Opens a flow: makes room, takes a source port, enters both directions.
//!
//! The reply entry goes in first, and only if nobody has its key: whoever inserts it owns the
//! source port. Without the forward entry it is taken out again: both exist, or none.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_prandom_u32, generated::bpf_ktime_get_coarse_ns},
};
use harbor_common::{
    backend::Backend,
    checksum,
    flow::{Flow, FlowKey, Phase},
    frontend::Frontend,
    protocol::Protocol,
    verdict::{DropReason, Verdict},
};

use super::{parse::Parsed, select::Choice};
use crate::{
    atomic, config,
    maps::{COOKIES, FLOWS, RING},
    table::{RACE, retire},
};

/// How often a source port is drawn before giving up.
const DRAWS: u32 = 32;
/// How many of them only try, without looking at who has the port.
const HASTY_DRAWS: u32 = 4;
/// A flow that nobody has answered for this long may lose its source port to a new one.
const HALF_OPEN_NS: u64 = 1_000_000_000;
/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// Opens a flow to the chosen backend: takes a source port, then enters both directions.
#[inline(always)]
pub fn open(
    parsed: &Parsed,
    frontend: &Frontend,
    choice: &Choice,
    ingress: u32,
) -> Result<Flow, Verdict> {
    let counter = COOKIES.get_ptr_mut(0).ok_or(RACE)?;
    // SAFETY: an element of the map, aligned to 8.
    let cookie = unsafe { atomic::fetch_add(counter, 1) } + 1;
    // SAFETY: the helper takes nothing and cannot fail.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    let key = &parsed.key;
    let backend = &choice.backend;
    make_room(cookie);

    let mut reply = Flow {
        word: cookie << Flow::STATE_BITS,
        seen_ns: now,
        source: key.destination,
        destination: key.source,
        source_port: key.destination_port,
        destination_port: key.source_port,
        address_delta: checksum::delta_address(backend.address, key.destination)
            + checksum::delta_address(backend.source, key.source),
        ifindex: ingress,
        backend: choice.slot,
        backend_generation: backend.generation,
        frontend: frontend.slot,
        direction: Flow::REPLY,
        ..Flow::default()
    };
    let reply_key = claim_source_port(parsed, backend, &mut reply)?;
    let forward = Flow {
        packets: 1,
        bytes: u64::from(parsed.length),
        source: backend.source,
        destination: backend.address,
        source_port: reply_key.destination_port,
        destination_port: backend.port,
        address_delta: checksum::delta_address(key.source, backend.source)
            + checksum::delta_address(key.destination, backend.address),
        port_delta: checksum::delta_port(key.source_port, reply_key.destination_port)
            + checksum::delta_port(key.destination_port, backend.port),
        ifindex: backend.ifindex,
        direction: Flow::FORWARD,
        ..reply
    };
    match FLOWS.insert(key, forward, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            enter_ring(cookie, key);
            Ok(forward)
        }
        Err(error) => {
            let _ = FLOWS.remove(reply_key);
            Err(Verdict::Drop(if error == EEXIST {
                DropReason::FlowRace
            } else {
                DropReason::FlowsFull
            }))
        }
    }
}

/// Retires the flow that took this flow's ring slot one round ago, if it still is half-open: so
/// there are never more of those than the ring has slots, and live flows are out of reach.
#[inline(never)]
fn make_room(cookie: u64) -> bool {
    let Some(slot) = RING.get(config::ring_slot(cookie)) else {
        return false;
    };
    let former = *slot;
    let Some(entry) = FLOWS.get_ptr(former.key) else {
        return false;
    };
    // SAFETY: from the lookup above; the cookie says whose it is.
    let word = unsafe { (&raw const (*entry).word).read_volatile() };
    Flow::cookie(word) == former.cookie
        && word & (Flow::LIVE | Flow::DEAD) == 0
        && retire(&former.key, word)
}

/// Takes the ring slot. Half-written it names nobody.
#[inline(always)]
fn enter_ring(cookie: u64, key: &FlowKey) {
    let Some(slot) = RING.get_ptr_mut(config::ring_slot(cookie)) else {
        return;
    };
    // SAFETY: an element of the map; two CPUs meet here only when the ring has gone round in
    // between, and a torn key then names no flow with that cookie.
    unsafe {
        (&raw mut (*slot).cookie).write_volatile(0);
        (&raw mut (*slot).key).write_volatile(*key);
        (&raw mut (*slot).cookie).write_volatile(cookie);
    }
}

/// Enters the reply direction under a source port that nobody else has towards this backend.
///
/// The client's own port comes first if it lies in the range; then independent draws, because a
/// constant stride clusters.
#[inline(always)]
fn claim_source_port(
    parsed: &Parsed,
    backend: &Backend,
    reply: &mut Flow,
) -> Result<FlowKey, Verdict> {
    let client_port = parsed.key.source_port;
    let mut key = FlowKey {
        source: backend.address,
        destination: backend.source,
        source_port: backend.port,
        destination_port: client_port,
        protocol: parsed.key.protocol,
    };
    for draw in 0..DRAWS {
        if draw > 0 || !config::is_source_port(client_port) {
            // SAFETY: the helper takes nothing and cannot fail.
            key.destination_port = config::source_port(unsafe { bpf_get_prandom_u32() });
        }
        reply.port_delta = checksum::delta_port(backend.port, parsed.key.destination_port)
            + checksum::delta_port(key.destination_port, client_port);
        match FLOWS.insert(key, &*reply, u64::from(BPF_NOEXIST)) {
            Ok(()) => return Ok(key),
            Err(EEXIST) => {}
            Err(_) => return Err(Verdict::Drop(DropReason::FlowsFull)),
        }
        // Looking at the holder costs a cold line, so the first draws only try.
        if draw >= HASTY_DRAWS
            && take_over(&key, reply.seen_ns)
            && FLOWS.insert(key, &*reply, u64::from(BPF_NOEXIST)).is_ok()
        {
            return Ok(key);
        }
    }
    Err(Verdict::Drop(DropReason::SourcePorts))
}

/// Ends the flow that holds a wanted source port if nobody will miss it: both sides have closed
/// it, or it has been half-open for a while, or it was one question with one answer.
#[inline(never)]
fn take_over(reply_key: &FlowKey, now_ns: u64) -> bool {
    let Some(holder) = FLOWS.get_ptr(reply_key) else {
        return true;
    };
    // SAFETY: from the lookup above; the cookie says whether the other entry belongs to it.
    let reply = unsafe { holder.read_volatile() };
    let key = reply.opposite_key(reply_key.protocol);
    let Some(entry) = FLOWS.get_ptr(key) else {
        return false;
    };
    // SAFETY: from the lookup above.
    let forward = unsafe { entry.read_volatile() };
    if Flow::cookie(forward.word) != Flow::cookie(reply.word) {
        return false;
    }
    let idle_ns = now_ns.saturating_sub(forward.seen_ns.max(reply.seen_ns));
    let is_over = match Phase::of(forward.word, reply.word) {
        Phase::Closed => true,
        Phase::Opening => idle_ns > HALF_OPEN_NS,
        Phase::Live => {
            let is_tcp = reply_key.protocol == Protocol::Tcp.number();
            !is_tcp && forward.packets <= 1 && idle_ns > HALF_OPEN_NS
        }
        Phase::Dead => false,
    };
    is_over && retire(&key, forward.word)
}
