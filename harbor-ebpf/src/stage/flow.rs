//! Finds the flow that a packet belongs to, and keeps its state.

use harbor_common::{
    backend::Backend,
    control::Control,
    explain::Explanation,
    flow::{Flow, FlowKey, Marks},
    protocol::Protocol,
    rules::transition,
    verdict::{DropReason, Verdict},
};

use crate::parsed::{Oddity, Parsed, Tcp};
use crate::{
    account, config,
    family::Stack,
    maps::BACKENDS,
    route::{self, Exit, UNROUTED},
    state::{self, LEAP, opposite_key},
    table::{RACE, change_state, opposite, retire, retire_either, unchanged, word},
    way::{Doubt, Way},
};

/// Whether a packet has a flow.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No flow, or none any more.
    None,
    /// A flow, whose translation has been copied.
    Way,
}

/// Takes a packet into its flow.
#[inline(always)]
pub fn follow<A: Stack>(
    parsed: &Parsed<A>,
    control: &Control,
    now: u64,
    way: &mut Way<A>,
) -> Result<Found, Verdict> {
    let Some(entry) = find(&parsed.key, way) else {
        return Ok(Found::None);
    };
    account::step(Explanation::FLOW, |note| {
        (note.backend, note.word) = (way.backend, way.word);
    });
    if way.word & Flow::<A>::DEAD != 0 {
        return Err(RACE);
    }
    if check_backend(parsed, way)? == Found::None {
        return Ok(Found::None);
    }
    guard(parsed)?;
    if advance(entry, way, parsed, now)? == Found::None {
        return Ok(Found::None);
    }
    // SAFETY: from the lookup in `find`.
    unsafe {
        // In this order: an entry that came from elsewhere has no route before its first packet.
        count(entry, way, parsed, now);
        refresh_route(entry, control, way);
    }
    Ok(Found::Way)
}

/// Finds a packet's entry, and copies what is needed of it.
#[inline(always)]
pub fn find<A: Stack>(key: &FlowKey<A>, way: &mut Way<A>) -> Option<*mut Flow<A>> {
    let entry = A::flows().get_ptr_mut(key)?;
    // SAFETY: from the lookup above; reads of a recycled element are caught by the comparison of
    // words before the translation is used (`table`).
    unsafe { read(entry, way) };
    Some(entry)
}

/// Whether a packet changes nothing about its flow but the counters.
#[inline(always)]
pub fn is_steady<A: Stack>(parsed: &Parsed<A>, way: &Way<A>) -> bool {
    let is_forward = way.direction == Flow::<A>::FORWARD;
    let serves = backend_state(way.backend, way.backend_generation);
    let is_open = way.word & (Flow::<A>::DEAD | Flow::<A>::REFUSED) == 0;
    is_open
        && match parsed.protocol {
            Protocol::Tcp => {
                serves != Backend::GONE && transition::Tcp::is_steady(way.word, parsed.tcp.flags)
            }
            Protocol::Udp => {
                serves != Backend::GONE
                    && !(is_forward && serves == Backend::UNHEALTHY)
                    && transition::Udp::is_steady(way.word, is_forward)
            }
        }
}

/// Whether no route has changed since the entry's was looked up.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run.
#[inline(always)]
pub unsafe fn is_routed<A>(entry: *const Flow<A>, control: &Control) -> bool {
    // SAFETY: by the caller.
    unsafe { (*entry).route_generation == control.route_generation }
}

/// Ends the flow if its backend no longer serves it. A client's datagram or new connection then
/// goes to another backend; any other packet is dropped.
#[inline(always)]
fn check_backend<A: Stack>(parsed: &Parsed<A>, way: &Way<A>) -> Result<Found, Verdict> {
    let is_forward = way.direction == Flow::<A>::FORWARD;
    match backend_state(way.backend, way.backend_generation) {
        Backend::GONE => {
            account::step(Explanation::RETIRED, |_| {});
            end(&parsed.key, way);
            match parsed.protocol {
                Protocol::Udp if is_forward => Ok(Found::None),
                Protocol::Tcp if is_forward && parsed.opens() => Ok(Found::None),
                _ => Err(Verdict::Drop(DropReason::BackendGone)),
            }
        }
        Backend::UNHEALTHY if is_forward && matches!(parsed.protocol, Protocol::Udp) => {
            account::step(Explanation::RETIRED, |_| {});
            again(&parsed.key, way.word)
        }
        _ => Ok(Found::Way),
    }
}

/// Drops what no flow forwards: a TCP header in pieces, and a packet whose time to live ends here.
#[inline(always)]
fn guard<A>(parsed: &Parsed<A>) -> Result<(), Verdict> {
    if matches!(parsed.oddity, Oddity::TinyFragment) {
        return Err(Verdict::Drop(DropReason::FlowFragment));
    }
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    Ok(())
}

/// Applies the packet to the flow's state, and notes what speaks against the backend.
#[inline(always)]
fn advance<A: Stack>(
    entry: *mut Flow<A>,
    way: &mut Way<A>,
    parsed: &Parsed<A>,
    now: u64,
) -> Result<Found, Verdict> {
    let is_forward = way.direction == Flow::<A>::FORWARD;
    match parsed.protocol {
        Protocol::Tcp => {
            if is_forward && parsed.opens() {
                if state::begins_anew(way) {
                    return again(&parsed.key, way.word);
                }
                if way.word & (Flow::<A>::REFUSED | Flow::<A>::LIVE) == Flow::<A>::REFUSED {
                    way.doubt = Doubt::Refused;
                } else if state::is_unanswered(entry, way, now) {
                    way.doubt = Doubt::Silent;
                }
            }
            state::advance_tcp(entry, way, parsed)?;
        }
        // The state stays as it is, because the flow is about to end.
        Protocol::Udp if is_forward && way.word & Flow::<A>::REFUSED != 0 => {
            way.doubt = Doubt::Refused;
        }
        Protocol::Udp => state::advance_udp(entry, way, parsed)?,
    }
    Ok(Found::Way)
}

/// Ends a flow, so that its client's packet opens a new one.
#[inline(always)]
fn again<A: Stack>(key: &FlowKey<A>, word: u64) -> Result<Found, Verdict> {
    if retire(key, word) {
        Ok(Found::None)
    } else {
        Err(RACE)
    }
}

/// Notes that the backend, whose packet this is, has refused the flow: the client's next packet
/// goes to another one. Whether the flow was still there.
#[inline(always)]
pub fn refuse<A: Stack>(way: &Way<A>, protocol: u32) -> bool {
    match opposite(&opposite_key(way, protocol), way.word) {
        // SAFETY: from the lookup in `opposite`.
        Some(forward) => {
            change_state(forward, unsafe { word(forward) }, Flow::<A>::REFUSED, 0).is_ok()
        }
        None => false,
    }
}

/// Takes back that a backend has refused the flow: no other one can take it.
#[inline(always)]
pub fn forgive<A: Stack>(key: &FlowKey<A>, way: &Way<A>) {
    if let Some(entry) = A::flows().get_ptr_mut(key) {
        let _ = change_state(entry, way.word, 0, Flow::<A>::REFUSED);
    }
}

/// Ends the flow that a packet belongs to.
#[inline(never)]
pub fn end<A: Stack>(key: &FlowKey<A>, way: &Way<A>) -> bool {
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
    let Some(entry) = find(key, way) else {
        return false;
    };
    if unchanged(entry, way.word).is_err()
        || backend_state(way.backend, way.backend_generation) == Backend::GONE
    {
        return false;
    }
    // SAFETY: from the lookup in `find`.
    unsafe { refresh_route(entry, control, way) };
    true
}

/// Whether an error may move the flow: the error travels towards the client, and the flow is UDP or
/// its backend has not accepted it yet.
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

/// Looks the route up again if routes have changed since the entry was written.
///
/// # Safety
///
/// `entry` comes from a lookup of this program run.
#[inline(always)]
unsafe fn refresh_route<A: Stack>(entry: *mut Flow<A>, control: &Control, way: &mut Way<A>) {
    // SAFETY: by the caller.
    if unsafe { is_routed(entry, control) } {
        return;
    }
    look_up(way);
    if config::is_dry_run() {
        return;
    }
    // SAFETY: by the caller. Aligned fields; a packet that reads some of them old and some new
    // leaves by the old route or by the new one, because a next hop names its interface.
    unsafe {
        (*entry).ifindex = way.ifindex;
        (*entry).next_hop = way.next_hop;
        (*entry).mtu = way.mtu;
        (*entry).route_generation = control.route_generation;
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
pub unsafe fn count<A: Stack>(entry: *mut Flow<A>, way: &Way<A>, parsed: &Parsed<A>, now: u64) {
    if config::is_dry_run() {
        return;
    }
    // SAFETY: by the caller. Plain writes: if two CPUs serve a flow at once, a count may be lost,
    // which is documented; no decision depends on it.
    let flow = unsafe { &mut *entry };
    if flow.seen_ns != now {
        flow.seen_ns = now;
    }
    flow.packets += 1;
    flow.bytes += u64::from(parsed.length);
    let tcp = &parsed.tcp;
    if !matches!(parsed.protocol, Protocol::Tcp) {
        let marks = Marks::of(flow.acknowledged, flow.next_sequence).with(parsed.mark);
        (flow.acknowledged, flow.next_sequence) = (marks.earlier(), marks.latest());
        return;
    }
    if tcp.flags & transition::RST != 0 {
        return;
    }
    // Until the flow is live, segments set the numbers; afterwards a stray one, for example a
    // repeated SYN, must not move them.
    let is_new = way.word & Flow::<A>::LIVE == 0;
    let next = tcp.sequence.wrapping_add(parsed.sequence_space());
    let is_ahead = is_new || next.wrapping_sub(flow.next_sequence) < LEAP;
    let is_further = is_new || tcp.acknowledgment.wrapping_sub(flow.acknowledged) < LEAP;
    if tcp.flags & transition::ACK != 0 && !(is_ahead && is_further) {
        learn(flow, tcp, next);
        return;
    }
    if is_ahead {
        flow.next_sequence = next;
    }
    if tcp.flags & transition::ACK != 0 {
        flow.acknowledged = tcp.acknowledgment;
    }
}

/// Takes over the numbers of a segment of which at least one lies behind, or has leapt. A number
/// that has leapt is believed if the other one proves that the sender knows the connection, and both of the first
/// segment here of a flow that another node has told of: much may have passed there since.
#[inline(never)]
fn learn<A>(flow: &mut Flow<A>, tcp: &Tcp, next: u32) -> bool {
    let sent = next.wrapping_sub(flow.next_sequence);
    let acknowledged = tcp.acknowledgment.wrapping_sub(flow.acknowledged);
    let may_leap = tcp.flags & transition::SYN == 0;
    if may_leap && flow.route_generation == UNROUTED {
        (flow.next_sequence, flow.acknowledged) = (next, tcp.acknowledgment);
        return true;
    }
    if sent < LEAP || may_leap && is_far(sent) && !is_far(acknowledged) {
        flow.next_sequence = next;
    }
    if acknowledged < LEAP || may_leap && is_far(acknowledged) && !is_far(sent) {
        flow.acknowledged = tcp.acknowledgment;
    }
    true
}

/// Whether a number lies farther from where it was than any segment can move it.
#[inline(always)]
const fn is_far(ahead: u32) -> bool {
    ahead >= LEAP && ahead <= LEAP.wrapping_neg()
}
