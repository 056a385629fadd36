//! Fragments after the first: they carry no ports, so they follow the way that the first one took.
//!
//! The first fragment goes through the flow like any packet, and leaves its way behind under what
//! all fragments of the datagram share. A fragment that comes before the first is left to the stack.

use harbor_common::{
    fragment::{FragmentKey, FragmentWay},
    verdict::{DropReason, PassReason, Verdict},
};

use super::{emit, parse::Parsed};
use crate::{
    config,
    family::Stack,
    ip::Rewrite,
    maps::FRAGMENTS,
    packet::{L3, Packet},
    route,
    way::Way,
};

/// How long a datagram may take to arrive: the lower bound of RFC 1122, section 3.3.2.
const REASSEMBLY_NS: u64 = 60_000_000_000;

/// Remembers the way of a datagram's first fragment.
#[inline(never)]
pub fn remember<A: Stack>(parsed: &Parsed<A>, way: &Way<A>, now: u64) -> bool {
    if config::is_dry_run() {
        return false;
    }
    let followed = FragmentWay {
        seen_ns: now,
        source: way.source.ip(),
        destination: way.destination.ip(),
        ifindex: way.ifindex,
        next_hop: way.next_hop,
        direction: u32::from(way.direction),
        frontend: way.frontend,
        address_delta: u32::from(way.address_delta),
        _pad: 0,
    };
    FRAGMENTS.insert(key(parsed), followed, 0).is_ok()
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

/// Takes up the way of the datagram's first fragment.
#[inline(always)]
pub fn follow<A: Stack>(parsed: &Parsed<A>, way: &mut Way<A>, now: u64) -> Result<(), Verdict> {
    const UNKNOWN: Verdict = Verdict::Pass(PassReason::Fragment);
    let found = FRAGMENTS.get_ptr(key(parsed)).ok_or(UNKNOWN)?;
    // SAFETY: from the lookup; an element recycled at this moment sends one fragment astray, which
    // its receiver cannot put together with anything.
    let found = unsafe { &*found };
    if now.saturating_sub(found.seen_ns) > REASSEMBLY_NS {
        return Err(UNKNOWN);
    }
    way.source = A::of(&found.source);
    way.destination = A::of(&found.destination);
    way.ifindex = found.ifindex;
    way.next_hop = found.next_hop;
    way.direction = found.direction as u16;
    way.frontend = found.frontend;
    way.address_delta = found.address_delta as u16;
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    Ok(())
}

/// Sends a fragment the way of its first: only addresses change, the checksum is in the first.
#[inline(always)]
pub fn translate<A: Stack, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &Way<A>,
    now: u64,
) -> Verdict {
    let Some(control) = route::control() else {
        return Verdict::Drop(DropReason::Rewrite);
    };
    let ready = emit::prepare(way, control, now);
    let new = Rewrite {
        source: &way.source,
        destination: &way.destination,
        ttl: (parsed.ttl - 1) as u8,
        delta: way.address_delta,
    };
    match A::rewrite(packet, L3, &new) {
        Some(()) => emit::emit(packet, &ready),
        None => Verdict::Drop(DropReason::Rewrite),
    }
}
