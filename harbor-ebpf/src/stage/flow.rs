//! Finds the flow that a packet belongs to, and keeps its state.

use harbor_common::{
    backend::Backend,
    control::Control,
    explain::Explanation,
    flow::{Flow, FlowKey},
    protocol::Protocol,
    verdict::{DropReason, Verdict},
};

use super::parse::{Oddity, Parsed, Tcp};
use crate::{
    account, config,
    family::Stack,
    maps::BACKENDS,
    route::{self, Exit},
    state::{self, LEAP, opposite_key},
    suspicion,
    table::{RACE, opposite, retire, retire_either, unchanged},
    way::{Doubt, Way},
};

/// What there is to a packet.
pub enum Found {
    /// No flow.
    None,
    /// A flow, whose way is known now.
    Way,
}

/// Finds the packet's flow.
#[inline(always)]
pub fn follow<A: Stack>(
    parsed: &Parsed<A>,
    control: &Control,
    now: u64,
    way: &mut Way<A>,
) -> Result<Found, Verdict> {
    let Some(entry) = A::flows().get_ptr_mut(&parsed.key) else {
        return Ok(Found::None);
    };
    // SAFETY: the pointer comes from the lookup above; reads of a recycled element are caught by
    // the comparison of words before the translation is used (`table`).
    unsafe { read(entry, way) };
    let is_forward = way.direction == Flow::<A>::FORWARD;
    account::step(Explanation::FLOW, |note| {
        (note.backend, note.word) = (way.backend, way.word);
    });
    if way.word & Flow::<A>::DEAD != 0 {
        return Err(RACE);
    }
    let opens = is_forward && parsed.opens();
    match backend_state(way.backend, way.backend_generation) {
        Backend::GONE => {
            account::step(Explanation::RETIRED, |_| {});
            end(&parsed.key, way);
            return match parsed.protocol {
                // The next backend takes the datagram, or the new connection.
                Protocol::Udp if is_forward => Ok(Found::None),
                Protocol::Tcp if opens => Ok(Found::None),
                _ => Err(Verdict::Drop(DropReason::BackendGone)),
            };
        }
        Backend::UNHEALTHY if is_forward && matches!(parsed.protocol, Protocol::Udp) => {
            account::step(Explanation::RETIRED, |_| {});
            return again(&parsed.key, way.word);
        }
        _ => {}
    }
    if matches!(parsed.oddity, Oddity::TinyFragment) {
        return Err(Verdict::Drop(DropReason::FlowFragment));
    }
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    match parsed.protocol {
        Protocol::Tcp => {
            if opens {
                if state::begins_anew(way) {
                    return again(&parsed.key, way.word);
                }
                if state::is_unanswered(entry, way, now) {
                    way.doubt = Doubt::Silent;
                }
            }
            state::advance_tcp(entry, way, parsed)?;
        }
        Protocol::Udp => state::advance_udp(entry, way, parsed)?,
    }
    // SAFETY: from the lookup above.
    unsafe {
        revalidate(entry, control, way);
        touch(entry, way, parsed, now);
    }
    Ok(Found::Way)
}

/// Ends a flow whose client begins anew.
#[inline(always)]
fn again<A: Stack>(key: &FlowKey<A>, word: u64) -> Result<Found, Verdict> {
    if retire(key, word) {
        Ok(Found::None)
    } else {
        Err(RACE)
    }
}

/// Ends a packet's flow for the sake of another backend.
#[inline(always)]
pub fn abandon<A: Stack>(key: &FlowKey<A>, way: &Way<A>, now: u64) -> bool {
    suspicion::suspect(way.backend, way.backend_generation, way.doubt as u32, now);
    end(key, way)
}

/// Ends a packet's flow.
#[inline(never)]
fn end<A: Stack>(key: &FlowKey<A>, way: &Way<A>) -> bool {
    retire_either(
        key,
        way.word,
        way.direction,
        &opposite_key(way, key.protocol),
    )
}

/// Copies what a packet needs of its entry.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run.
#[inline(always)]
unsafe fn read<A: Stack>(entry: *mut Flow<A>, way: &mut Way<A>) {
    macro_rules! copy {
        ($($name:ident),+) => {$(
            // SAFETY: by the caller; a recycled element shows itself by its word.
            way.$name = unsafe { (&raw const (*entry).$name).read_volatile() };
        )+};
    }
    // SAFETY: as below.
    unsafe {
        way.source = A::load(&raw const (*entry).source);
        way.destination = A::load(&raw const (*entry).destination);
    }
    copy!(word, source_port, destination_port);
    copy!(address_delta, port_delta, direction, mtu, ifindex, next_hop);
    copy!(frontend, backend, backend_generation);
    way.doubt = Doubt::None;
}

/// Finds the flow that an ICMP error belongs to; its state stays as it is.
#[inline(always)]
pub fn quoted<A: Stack>(key: &FlowKey<A>, control: &Control, way: &mut Way<A>) -> bool {
    let Some(entry) = A::flows().get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: from the lookup above; a recycled element shows itself by its word.
    unsafe { read(entry, way) };
    if unchanged(entry, way.word).is_err()
        || backend_state(way.backend, way.backend_generation) == Backend::GONE
    {
        return false;
    }
    // SAFETY: from the lookup above.
    unsafe { revalidate(entry, control, way) };
    true
}

/// Whether an error about a packet of this flow can be true: a forger must guess a sequence number
/// that the quoted side has sent lately (RFC 5927). Of UDP there is nothing to guess.
#[inline(always)]
pub fn is_credible<A: Stack>(key: &FlowKey<A>, way: &Way<A>, sequence: u32) -> bool {
    if key.protocol == Protocol::Udp.number() {
        return true;
    }
    match opposite(&opposite_key(way, key.protocol), way.word) {
        // SAFETY: from the lookup in `opposite`.
        Some(entry) => unsafe { (*entry).next_sequence.wrapping_sub(sequence) < LEAP },
        None => false,
    }
}

/// Whether no client would miss the flow: it travels towards the client, and nothing has come back
/// yet, or it is UDP.
#[inline(always)]
pub fn is_young<A: Stack>(key: &FlowKey<A>, way: &Way<A>) -> bool {
    way.direction == Flow::<A>::REPLY
        && (key.protocol == Protocol::Udp.number() || way.word & Flow::<A>::LIVE == 0)
}

/// The state of a flow's backend: one of [`Backend`]'s constants.
#[inline(always)]
pub fn backend_state(slot: u32, generation: u32) -> u32 {
    let Some(backend) = BACKENDS.get_ptr(slot) else {
        return Backend::GONE;
    };
    // SAFETY: an element of the map, aligned to 8; generation and state are its first eight bytes
    // and are read at once, as the agent writes them.
    let word = unsafe { backend.cast::<u64>().read_volatile() };
    if word as u32 == generation {
        (word >> 32) as u32
    } else {
        Backend::GONE
    }
}

/// Looks the way up anew if ways have changed since the entry was written.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run.
#[inline(always)]
unsafe fn revalidate<A: Stack>(entry: *mut Flow<A>, control: &Control, way: &mut Way<A>) {
    let route_generation = control.route_generation;
    // SAFETY: by the caller.
    if unsafe { (*entry).route_generation } == route_generation {
        return;
    }
    look_up(way);
    if config::is_dry_run() {
        return;
    }
    // SAFETY: by the caller. Aligned fields; a packet that reads some of them old and some new is
    // sent on the old way or the new one, because a next hop names its interface.
    unsafe {
        (*entry).ifindex = way.ifindex;
        (*entry).next_hop = way.next_hop;
        (*entry).mtu = way.mtu;
        (*entry).route_generation = route_generation;
    }
}

#[inline(never)]
fn look_up<A: Stack>(way: &mut Way<A>) -> bool {
    let mut exit = Exit::default();
    let is_known = route::find(&way.source.ip(), &way.destination.ip(), &mut exit);
    if is_known {
        (way.ifindex, way.next_hop) = (exit.ifindex, exit.next_hop);
        way.mtu = exit.mtu16();
    } else {
        way.next_hop = 0;
    }
    is_known
}

/// Counts the packet in its entry, and notes the time and how far TCP has come.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run.
#[inline(always)]
unsafe fn touch<A: Stack>(entry: *mut Flow<A>, way: &Way<A>, parsed: &Parsed<A>, now: u64) {
    if config::is_dry_run() {
        return;
    }
    // SAFETY: by the caller. Plain writes: the counts of a flow that two CPUs serve at once may
    // lose one, which is documented, and no decision depends on them.
    let flow = unsafe { &mut *entry };
    if flow.seen_ns != now {
        flow.seen_ns = now;
    }
    flow.packets += 1;
    flow.bytes += u64::from(parsed.length);
    let tcp = &parsed.tcp;
    if !matches!(parsed.protocol, Protocol::Tcp) || tcp.flags & Tcp::RST != 0 {
        return;
    }
    // Until the flow lives each side's first segment sets the number; afterwards a stray one, for
    // example a repeated SYN, must not move it.
    let is_new = way.word & Flow::<A>::LIVE == 0;
    let next = tcp.sequence.wrapping_add(parsed.sequence_space());
    if is_new || next.wrapping_sub(flow.next_sequence) < LEAP {
        flow.next_sequence = next;
    }
    let is_further = tcp.acknowledgment.wrapping_sub(flow.acknowledged) < LEAP;
    if tcp.flags & Tcp::ACK != 0 && (is_new || is_further) {
        flow.acknowledged = tcp.acknowledgment;
    }
}
