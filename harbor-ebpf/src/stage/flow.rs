//! Flows: finds the one that a packet belongs to, keeps its state, opens and ends it.
//!
//! Elements of a preallocated hash are recycled at once, so whoever uses one copies it first and
//! then checks that its word has not changed. State changes only by compare-and-exchange; whoever
//! turns a flow dead deletes it. The forward entry is the master.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_prandom_u32, generated::bpf_ktime_get_coarse_ns},
};
use harbor_common::{
    backend::Backend,
    checksum,
    flow::{Expired, Flow, FlowKey, Phase},
    frontend::Frontend,
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use super::{
    parse::{Oddity, Parsed, Tcp},
    select::Choice,
};
use crate::{
    atomic, config,
    maps::{BACKENDS, COOKIES, FLOWS, RING},
};

/// How often a source port is drawn before giving up.
const DRAWS: u32 = 32;
/// How many of them only try, without looking at who has the port.
const HASTY_DRAWS: u32 = 4;
/// A flow that nobody has answered for this long may lose its source port to a new one.
const HALF_OPEN_NS: u64 = 1_000_000_000;
/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;
/// A client's first ACK may acknowledge data that came with the SYN-ACK (TCP Fast Open).
const ACK_SLACK: u32 = 65_536;

const RACE: Verdict = Verdict::Drop(DropReason::FlowRace);

/// The translation of the flow that this packet belongs to; `None` where there is no such flow.
#[inline(always)]
pub fn follow(parsed: &Parsed) -> Result<Option<Flow>, Verdict> {
    let Some(entry) = FLOWS.get_ptr_mut(parsed.key) else {
        return Ok(None);
    };
    // SAFETY: the pointer comes from the lookup above; reads of a recycled element are caught by
    // the comparison of words in `advance`.
    let flow = unsafe { entry.read_volatile() };
    if flow.word & Flow::DEAD != 0 {
        return Err(RACE);
    }
    if is_backend_gone(&flow) {
        retire(&parsed.key, flow.word);
        return match flow.direction {
            Flow::REPLY => Err(Verdict::Drop(DropReason::BackendGone)),
            // The stack resets the connection, or the next backend takes the datagram.
            _ => Ok(None),
        };
    }
    match (parsed.oddity, parsed.protocol) {
        (Oddity::None, _) => {}
        (Oddity::Options, _) => return Err(Verdict::Drop(DropReason::FlowOptions)),
        (Oddity::FirstFragment, Protocol::Tcp) => {
            return Err(Verdict::Drop(DropReason::FlowFragment));
        }
        // The datagram's other fragments carry no ports and pass as well: the stack has them all.
        (Oddity::FirstFragment, Protocol::Udp) => {
            return Err(Verdict::Pass(PassReason::Fragment));
        }
    }
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    match parsed.protocol {
        Protocol::Tcp => advance_tcp(entry, &flow, &parsed.tcp)?,
        Protocol::Udp => advance_udp(entry, &flow)?,
    }
    touch(entry, parsed.length);
    Ok(Some(flow))
}

#[inline(always)]
fn is_backend_gone(flow: &Flow) -> bool {
    let Some(backend) = BACKENDS.get_ptr(flow.backend) else {
        return true;
    };
    // SAFETY: an element of the map, aligned to 8; generation and state are its first eight bytes
    // and are read at once, as the agent writes them.
    let word = unsafe { backend.cast::<u64>().read_volatile() };
    word as u32 != flow.backend_generation || (word >> 32) as u32 == Backend::GONE
}

/// Takes the packet's flags into the state of its entry, and the flow's phase from there.
#[inline(always)]
fn advance_tcp(entry: *mut Flow, flow: &Flow, tcp: &Tcp) -> Result<(), Verdict> {
    let mut adds = 0;
    if flow.direction == Flow::FORWARD {
        if tcp.opens() {
            return reopen(entry, flow);
        }
        if flow.word & Flow::LIVE == 0 && tcp.flags & Tcp::ACK != 0 && takes_answer(flow, tcp) {
            adds |= Flow::LIVE;
        }
    } else if tcp.accepts() && flow.word & Flow::LIVE == 0 {
        // SAFETY: the entry is in the map; the field is an aligned word of its own.
        unsafe { (&raw mut (*entry).sequence).write_volatile(tcp.sequence) };
        adds |= Flow::LIVE;
    }
    // A reset or FIN before the flow lives answers an older connection of the same tuple.
    if (flow.word | adds) & Flow::LIVE != 0 {
        if tcp.flags & Tcp::FIN != 0 {
            adds |= Flow::FIN;
        }
        if tcp.flags & Tcp::RST != 0 {
            adds |= Flow::RST;
        }
    }
    add_state(entry, flow.word, adds)
}

/// Whether a client's ACK takes the backend's SYN-ACK.
#[inline(always)]
fn takes_answer(flow: &Flow, tcp: &Tcp) -> bool {
    let Some(reply) = FLOWS.get_ptr(flow.opposite_key(Protocol::Tcp.number())) else {
        return false;
    };
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let (word, sequence) = unsafe {
        (
            (&raw const (*reply).word).read_volatile(),
            (&raw const (*reply).sequence).read_volatile(),
        )
    };
    Flow::cookie(word) == Flow::cookie(flow.word)
        && word & Flow::LIVE != 0
        && tcp.acknowledgment.wrapping_sub(sequence).wrapping_sub(1) < ACK_SLACK
}

/// A client's SYN on an existing flow: a closed one begins anew, any other is left as it is (the
/// far end answers with a challenge, RFC 5961).
#[inline(always)]
fn reopen(entry: *mut Flow, flow: &Flow) -> Result<(), Verdict> {
    if flow.word & (Flow::LIVE | Flow::FIN | Flow::RST) == 0 {
        return Ok(());
    }
    let reply = FLOWS
        .get_ptr_mut(flow.opposite_key(Protocol::Tcp.number()))
        .ok_or(RACE)?;
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let reply_word = unsafe { (&raw const (*reply).word).read_volatile() };
    if Flow::cookie(reply_word) != Flow::cookie(flow.word) {
        return Err(RACE);
    }
    if Phase::of(flow.word, reply_word) != Phase::Closed {
        return Ok(());
    }
    let state = Flow::LIVE | Flow::FIN | Flow::RST;
    // SAFETY: both words are aligned to 8 and stand in map values.
    let cleared = unsafe {
        atomic::compare_exchange(&raw mut (*entry).word, flow.word, flow.word & !state)
            && atomic::compare_exchange(&raw mut (*reply).word, reply_word, reply_word & !state)
    };
    if cleared { Ok(()) } else { Err(RACE) }
}

/// An answer makes a UDP flow live, in both entries.
#[inline(always)]
fn advance_udp(entry: *mut Flow, flow: &Flow) -> Result<(), Verdict> {
    if flow.direction == Flow::FORWARD || flow.word & Flow::LIVE != 0 {
        return unchanged(entry, flow.word);
    }
    let forward = FLOWS
        .get_ptr_mut(flow.opposite_key(Protocol::Udp.number()))
        .ok_or(RACE)?;
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let forward_word = unsafe { (&raw const (*forward).word).read_volatile() };
    if Flow::cookie(forward_word) != Flow::cookie(flow.word) {
        return Err(RACE);
    }
    add_state(forward, forward_word, Flow::LIVE)?;
    add_state(entry, flow.word, Flow::LIVE)
}

/// Sets state bits of an entry that must still be the one that was read.
#[inline(always)]
fn add_state(entry: *mut Flow, word: u64, adds: u64) -> Result<(), Verdict> {
    if word & adds == adds {
        return unchanged(entry, word);
    }
    // SAFETY: the word is aligned to 8 and stands in a map value.
    let word_pointer = unsafe { &raw mut (*entry).word };
    // SAFETY: as above.
    if unsafe { atomic::compare_exchange(word_pointer, word, word | adds) } {
        return Ok(());
    }
    // Another CPU was faster. If the flow is the same, one more try suffices: the states only grow.
    // SAFETY: as above.
    let found = unsafe { word_pointer.read_volatile() };
    if Flow::cookie(found) == Flow::cookie(word)
        && found & Flow::DEAD == 0
        // SAFETY: as above.
        && unsafe { atomic::compare_exchange(word_pointer, found, found | adds) }
    {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// Checks that the element was not recycled while it was copied.
#[inline(always)]
fn unchanged(entry: *mut Flow, word: u64) -> Result<(), Verdict> {
    // SAFETY: from a lookup of this program run; values of recycled elements stay readable.
    let found = unsafe { (&raw const (*entry).word).read_volatile() };
    if Flow::cookie(found) == Flow::cookie(word) && found & Flow::DEAD == 0 {
        Ok(())
    } else {
        Err(RACE)
    }
}

/// Counts the packet in its entry and notes the time.
#[inline(always)]
fn touch(entry: *mut Flow, bytes: u32) {
    // SAFETY: the helper takes nothing and cannot fail.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: from a lookup of this program run. Plain writes: the counts of a flow that two CPUs
    // serve at once may lose one, which is documented, and no decision depends on them.
    unsafe {
        if (*entry).seen_ns != now {
            (*entry).seen_ns = now;
        }
        (*entry).packets += 1;
        (*entry).bytes += u64::from(bytes);
    }
}

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

/// Ends the flow that this entry belongs to, if its word still is `word`; whether this call did.
#[inline(always)]
pub fn retire(key: &FlowKey, word: u64) -> bool {
    let Some(entry) = FLOWS.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the word is aligned to 8 and stands in a map value.
    if !unsafe { atomic::compare_exchange(&raw mut (*entry).word, word, word | Flow::DEAD) } {
        return false;
    }
    // SAFETY: from the lookup above; dead entries are deleted by this call alone.
    let opposite_key = unsafe { (*entry).opposite_key(key.protocol) };
    if let Some(opposite) = FLOWS.get_ptr(opposite_key) {
        // SAFETY: from the lookup above.
        let other = unsafe { (&raw const (*opposite).word).read_volatile() };
        if Flow::cookie(other) == Flow::cookie(word) {
            let _ = FLOWS.remove(opposite_key);
        }
    }
    let _ = FLOWS.remove(key);
    true
}

/// Ends a flow that the agent saw expire, if no packet has come since.
#[inline(always)]
pub fn expire(expired: &Expired) -> bool {
    let Some(entry) = FLOWS.get_ptr(expired.key) else {
        return false;
    };
    // SAFETY: from the lookup above.
    let flow = unsafe { entry.read_volatile() };
    let mut seen_ns = flow.seen_ns;
    if let Some(opposite) = FLOWS.get_ptr(flow.opposite_key(expired.key.protocol)) {
        // SAFETY: from the lookup above.
        let (word, seen) = unsafe {
            (
                (&raw const (*opposite).word).read_volatile(),
                (&raw const (*opposite).seen_ns).read_volatile(),
            )
        };
        if Flow::cookie(word) == Flow::cookie(flow.word) {
            seen_ns = seen_ns.max(seen);
        }
    }
    seen_ns == expired.seen_ns && retire(&expired.key, expired.word)
}
