//! The packet path at XDP: packets of established flows, and nothing else.
//!
//! Every check comes before the first write to the packet or to a table. A packet that fails a
//! check goes up untouched and uncounted, and the path at TC decides as if there were no XDP.

use harbor_common::{
    control::Control,
    verdict::{PassReason, Verdict},
};

use crate::{
    account, clock,
    family::Stack,
    maps::Context,
    packet::Packet,
    parsed::{Kind, Oddity, Parsed},
    route,
    stage::{flow, frontend, limit, translate},
    table::unchanged,
    way::Way,
    xdp,
};

/// The packet goes up to TC, which finds its own reason.
const UP: Verdict = Verdict::Pass(PassReason::NotOurs);

/// Takes a packet of one family through the stages that an established flow needs.
#[inline(always)]
pub fn run<A: Stack, P: Packet>(packet: &mut P) -> Verdict {
    let Some(context) = A::context() else {
        return UP;
    };
    // SAFETY: this CPU's own element, which one run of a program at a time holds.
    let Context { parsed, way, .. } = unsafe { &mut *context };
    match forward(packet, parsed, way) {
        Ok(verdict) | Err(verdict) => verdict,
    }
}

#[inline(always)]
fn forward<A: Stack, P: Packet>(
    packet: &mut P,
    parsed: &mut Parsed<A>,
    way: &mut Way<A>,
) -> Result<Verdict, Verdict> {
    if A::parse(packet, parsed)? != Kind::Whole || parsed.oddity != Oddity::None || parsed.ttl <= 1
    {
        return Err(UP);
    }
    let control = route::control().ok_or(UP)?;
    let now = clock::now_ns();
    if control.valid_until_ns <= now {
        return Err(UP);
    }
    frontend::find(&parsed.key, parsed.protocol)?;
    let entry = flow::find(&parsed.key, way).ok_or(UP)?;
    // SAFETY: from the lookup in `find`.
    let is_routed = unsafe { flow::is_routed(entry, control) };
    if !is_routed || !flow::is_steady(parsed, way) {
        return Err(UP);
    }
    let hardware = leave_by(parsed, way, now).ok_or(UP)?;
    if translate::may_be_pending(packet, parsed) || unchanged(entry, way.word).is_err() {
        return Err(UP);
    }
    // From here on the packet is forwarded or dropped.
    // SAFETY: from the lookup in `find`.
    unsafe { flow::count(entry, way, parsed, now) };
    finish(packet, parsed, way, control, now)?;
    Ok(match packet.set_words(0, hardware) {
        Some(()) => Verdict::Forward(way.ifindex),
        None => translate::REFUSED,
    })
}

/// The hardware addresses that the packet leaves with, if it can leave from here.
#[inline(always)]
fn leave_by<A>(parsed: &Parsed<A>, way: &Way<A>, now: u64) -> Option<[u32; 3]> {
    let hardware = route::fresh_hardware(way.next_hop, way.ifindex, now)?;
    let fits = parsed.length <= u32::from(way.mtu);
    (fits && xdp::takes_frames(way.ifindex)).then_some(hardware)
}

#[inline(always)]
fn finish<A: Stack, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &Way<A>,
    control: &Control,
    now: u64,
) -> Result<(), Verdict> {
    limit::meter(parsed, way, control, now)?;
    translate::translate(packet, parsed, way)?;
    account::translated(way.frontend, way.direction, parsed.length);
    Ok(())
}
