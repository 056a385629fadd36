//! The packet path at TC, in reading order.
//!
//! What most packets need is inlined into one function. What few packets need are global functions
//! (`phases`), each of which returns one register (`code`), so that the kernel's 512 octets of
//! stack suffice for every chain of calls.

use harbor_common::{
    explain::Explanation,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, clock,
    code::Code,
    maps::Context,
    packet::{Packet, SocketBuffer},
    parsed::{Kind, Oddity, Parsed, Version},
    phases::{Path, Phases},
    route, scan,
    stage::{
        answer, emit,
        flow::{self, Found},
        fragment, frontend, limit, parse, translate,
    },
    way::{Doubt, Way},
};

/// The family of a frame, or why the frame is not ours.
#[inline(always)]
pub fn version<P: Packet>(packet: &mut P) -> Result<Version, Verdict> {
    parse::link(packet)
}

/// Takes a packet of one family through all stages.
#[inline(always)]
pub fn run<A: Path, P: Phases<A>>(packet: &mut P) -> Verdict {
    let Some(context) = A::context() else {
        return Verdict::Pass(PassReason::NotOurs);
    };
    // SAFETY: this CPU's own element, which one run of the program at a time holds. The phases
    // change it too, and nothing that they may change is assumed to be as it was once they return.
    let context: &mut Context<A> = unsafe { &mut *context };
    match A::parse(packet, &mut context.parsed) {
        Ok(Kind::Whole) => match forward(packet, context) {
            Ok(verdict) => verdict,
            Err(dropped @ Verdict::Drop(_)) => packet.answer(Code::of(dropped)).verdict(),
            Err(verdict) => verdict,
        },
        Ok(Kind::Icmp) => packet.relay_error().verdict(),
        Ok(Kind::Fragment) => packet.forward_fragment().verdict(),
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn forward<A: Path, P: Phases<A>>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<Verdict, Verdict> {
    account::step(Explanation::PARSED, |_| {});
    let control = route::control().ok_or(Verdict::Pass(PassReason::NotOurs))?;
    let now = clock::now_ns();
    let Context { parsed, way, .. } = &mut *context;
    let frontend = frontend::find(&parsed.key, parsed.protocol)?;
    let found = flow::follow(parsed, control, now, way)?;
    if !matches!(found, Found::Way) || way.doubt != Doubt::None {
        context.frontend = frontend;
        context.opens = u32::from(matches!(found, Found::None));
        (context.avoided, context.is_moved) = (scan::NOBODY, 0);
        if context.opens == 0 {
            packet.reconsider().result()?;
        }
        if context.opens != 0 {
            packet.open().result()?;
        }
    }
    let Context { parsed, way, .. } = context;
    limit::meter(parsed, way, control, now)?;
    if !emit::fits(packet, parsed, way) {
        return Err(Verdict::Drop(DropReason::TooBig));
    }
    let is_first = matches!(parsed.oddity, Oddity::FirstFragment | Oddity::OddFragment);
    if is_first && !(fragment::is_numbered(packet, parsed) && fragment::remember(parsed, way, now))
    {
        return Err(Verdict::Pass(PassReason::Fragment));
    }
    let ready = emit::prepare(way, control, now);
    translate::translate(packet, parsed, way)?;
    if is_first {
        fragment::renumber_first(packet, parsed, way)?;
    }
    account::translated(way.frontend, way.direction, parsed.length);
    Ok(emit::emit(packet, &ready))
}

/// Tells the sender of a packet that the packet is dropped by this verdict.
#[inline(always)]
pub fn answer<A: Path, P: SocketBuffer>(
    packet: &mut P,
    context: &mut Context<A>,
    verdict: Code,
) -> Code {
    match verdict.verdict() {
        Verdict::Drop(reason) => {
            let Context { parsed, way, .. } = context;
            Code::of(answer::answer(packet, parsed, way.mtu, reason))
        }
        other => Code::of(other),
    }
}

/// Sends a later fragment where the first one went.
#[inline(always)]
pub fn forward_fragment<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    let Context { parsed, way, .. } = context;
    match try_forward_fragment(packet, parsed, way) {
        Ok(verdict) | Err(verdict) => Code::of(verdict),
    }
}

#[inline(always)]
fn try_forward_fragment<A: Path, P: Packet>(
    packet: &mut P,
    parsed: &Parsed<A>,
    way: &mut Way<A>,
) -> Result<Verdict, Verdict> {
    let now = clock::now_ns();
    fragment::follow(parsed, way, now)?;
    account::translated(way.frontend, way.direction, parsed.length);
    let control = route::control().ok_or(translate::REFUSED)?;
    let ready = emit::prepare(way, control, now);
    fragment::translate(packet, parsed, way)?;
    Ok(emit::emit(packet, &ready))
}
