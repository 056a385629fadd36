//! Fragments after the first: they carry no ports, so they go where the first one went.
//!
//! The first fragment goes through its flow like any packet, and leaves its translation behind,
//! under what all fragments of the datagram share. If a later fragment comes before the first, all
//! of them are left to the stack, which reassembles the datagram (`steer`): the early one leaves a
//! mark in place of a translation. Whichever is entered first decides for the whole datagram,
//! whatever CPUs handle its fragments.

use aya_ebpf::bindings::BPF_NOEXIST;
use harbor_common::{
    fragment::{FragmentKey, FragmentWay},
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::parsed::{FARTHEST_L4, Parsed};
use crate::{
    atomic,
    bound::masked,
    config,
    family::Stack,
    ip::Rewrite,
    maps::{ADDRESSES, FRAGMENTS, TOTALS},
    packet::{L3, Packet},
    route,
    way::Way,
};

/// How long a datagram may take to arrive: the lower bound of RFC 1122, section 3.3.2.
const REASSEMBLY_NS: u64 = 60_000_000_000;

/// The fragment could not be rewritten.
const REFUSED: Verdict = Verdict::Drop(DropReason::Rewrite);
/// Octets of IPv6's fragment header.
const FRAGMENT_HEADER: usize = 8;
/// How often to try a place that another CPU is clearing.
const TRIES: u32 = 8;
/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// Remembers the translation of a datagram's first fragment; whether the datagram follows it and is
/// not left to the stack.
#[inline(never)]
pub fn remember<A: Stack>(parsed: &Parsed<A>, way: &mut Way<A>, now: u64) -> bool {
    if config::is_dry_run() {
        return true;
    }
    way.identification = identification();
    let followed = FragmentWay {
        seen_ns: now,
        source: way.source.ip(),
        destination: way.destination.ip(),
        ifindex: way.ifindex,
        next_hop: way.next_hop,
        direction: u32::from(way.direction),
        frontend: way.frontend,
        address_delta: u32::from(way.address_delta),
        identification: way.identification,
    };
    let key = key(parsed);
    if let Some(found) = enter(&key, &followed, now) {
        if is_stacks(found) {
            return false;
        }
        // An older datagram had the same identification.
        let _ = FRAGMENTS.insert(key, followed, 0);
    }
    true
}

/// An identification that no datagram of this node has had for as long as there are others.
#[inline(always)]
fn identification() -> u32 {
    match TOTALS.get_ptr_mut(0) {
        // SAFETY: a field of a map value, aligned to 8.
        Some(totals) => unsafe { atomic::fetch_add(&raw mut (*totals).identifications, 1) as u32 },
        None => 0,
    }
}

/// Leaves a datagram to the stack. If its first fragment passes at this moment, answers with the
/// translation of that one.
#[inline(always)]
fn leave<A: Stack>(parsed: &Parsed<A>, key: &FragmentKey, now: u64) -> Option<*mut FragmentWay> {
    // A TCP segment that is lost is sent again, a datagram for another node is not ours, and
    // without an agent nobody carries what the stack has reassembled.
    let is_carried = match route::control() {
        Some(control) => control.valid_until_ns > now,
        None => false,
    };
    if config::is_dry_run()
        || !matches!(parsed.protocol, Protocol::Udp)
        || ADDRESSES.get_ptr(key.destination).is_none()
        || !is_carried
    {
        return None;
    }
    let mark = FragmentWay {
        seen_ns: now,
        direction: FragmentWay::STACK,
        ..FragmentWay::default()
    };
    enter(key, &mark, now)
}

/// Enters a translation where there is none; else answers with the one that is there.
#[inline(always)]
fn enter(key: &FragmentKey, way: &FragmentWay, now: u64) -> Option<*mut FragmentWay> {
    for _ in 0..TRIES {
        if FRAGMENTS.insert(key, way, u64::from(BPF_NOEXIST)) != Err(EEXIST) {
            return None;
        }
        let Some(found) = FRAGMENTS.get_ptr_mut(key) else {
            continue;
        };
        let seen_ns = seen_ns(found);
        if is_fresh(seen_ns, now) {
            return Some(found);
        }
        // Too old. Only the CPU that clears its time removes it, so that none removes its
        // successor.
        // SAFETY: from the lookup above; the time is aligned to 8.
        if seen_ns != 0
            && unsafe { atomic::compare_exchange(&raw mut (*found).seen_ns, seen_ns, 0) }
        {
            let _ = FRAGMENTS.remove(key);
        }
    }
    None
}

#[inline(always)]
fn seen_ns(found: *const FragmentWay) -> u64 {
    // SAFETY: the callers have it from a lookup.
    unsafe { (&raw const (*found).seen_ns).read_volatile() }
}

#[inline(always)]
const fn is_fresh(seen_ns: u64, now: u64) -> bool {
    seen_ns != 0 && now.saturating_sub(seen_ns) <= REASSEMBLY_NS
}

/// Whether the datagram was left to the stack.
#[inline(always)]
fn is_stacks(found: *const FragmentWay) -> bool {
    // SAFETY: the callers have it from a lookup.
    unsafe { (*found).direction == FragmentWay::STACK }
}

#[inline(always)]
fn key<A: Stack>(parsed: &Parsed<A>) -> FragmentKey {
    FragmentKey {
        source: parsed.key.source.ip(),
        destination: parsed.key.destination.ip(),
        identification: parsed.identification,
        protocol: parsed.key.protocol,
    }
}

/// Takes over the translation of the datagram's first fragment; a datagram without one is left to
/// the stack.
#[inline(always)]
pub fn follow<A: Stack>(parsed: &Parsed<A>, way: &mut Way<A>, now: u64) -> Result<(), Verdict> {
    const LEFT: Verdict = Verdict::Pass(PassReason::Fragment);
    let key = key(parsed);
    let found = match FRAGMENTS.get_ptr_mut(key) {
        Some(found) if is_fresh(seen_ns(found), now) => found,
        _ => leave(parsed, &key, now).ok_or(LEFT)?,
    };
    if is_stacks(found) {
        return Err(LEFT);
    }
    // SAFETY: from the lookup; an element recycled at this moment sends one fragment astray, which
    // its receiver cannot reassemble with anything.
    let found = unsafe { &*found };
    way.source = A::of(&found.source);
    way.destination = A::of(&found.destination);
    way.ifindex = found.ifindex;
    way.next_hop = found.next_hop;
    way.direction = found.direction as u16;
    way.frontend = found.frontend;
    way.address_delta = found.address_delta as u16;
    way.identification = found.identification;
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    Ok(())
}

/// Rewrites a fragment after its first: only addresses change, because the checksum is in the first.
#[inline(always)]
pub fn translate<A: Stack, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &Way<A>,
) -> Result<(), Verdict> {
    let new = Rewrite {
        source: &way.source,
        destination: &way.destination,
        ttl: (parsed.ttl - 1) as u8,
        delta: way.address_delta,
    };
    A::rewrite(packet, L3, &new).ok_or(REFUSED)?;
    renumber(packet, parsed.l4(), way)
}

/// Gives a first fragment, which has been translated, its new identification.
#[inline(always)]
pub fn renumber_first<A: Stack, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &Way<A>,
) -> Result<(), Verdict> {
    renumber(packet, before(parsed), way)
}

/// Where the fragment header of a first fragment stands in IPv6, if the transport header follows it.
#[inline(always)]
fn before<A>(parsed: &Parsed<A>) -> usize {
    masked::<{ FARTHEST_L4 }>(parsed.l4() + FARTHEST_L4 + 1 - FRAGMENT_HEADER)
}

/// Whether the identification of a first fragment is where it can be changed.
#[inline(always)]
pub fn is_numbered<A: Stack, P: Packet>(packet: &P, parsed: &Parsed<A>) -> bool {
    A::identification(packet, before(parsed)) == Some(parsed.identification)
}

#[inline(always)]
fn renumber<A: Stack, P: Packet>(packet: &mut P, at: usize, way: &Way<A>) -> Result<(), Verdict> {
    if config::is_dry_run() {
        return Ok(());
    }
    A::renumber(packet, at, way.identification).ok_or(REFUSED)
}
