//! The packet path in reading order.
//!
//! What most packets need is one function; what few need are functions of their own, each returning
//! one register (`code`), so that the kernel's 512 octets of stack suffice for every chain of calls.

use harbor_common::{
    explain::Explanation,
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, clock,
    code::Code,
    family::Stack,
    maps::Context,
    packet::Packet,
    route,
    stage::{
        answer::{self, Complain},
        claim, emit,
        flow::{self, Found},
        fragment,
        frontend::{self, Side},
        icmp::{self, Errors},
        limit, open,
        parse::{self, Kind, Oddity, Version},
        select, translate,
    },
    way::Doubt,
};

/// A family that the whole path serves.
pub trait Path: Stack + Errors + Complain {}
impl<A: Stack + Errors + Complain> Path for A {}

/// The family of a frame, or why none of it is ours.
#[inline(always)]
pub fn version<P: Packet>(packet: &mut P) -> Result<Version, Verdict> {
    parse::link(packet)
}

/// Takes a packet of one family through all stages.
#[inline(always)]
pub fn run<A: Path, P: Packet>(packet: &mut P) -> Verdict {
    let Some(context) = A::context() else {
        return Verdict::Pass(PassReason::NotOurs);
    };
    // SAFETY: this CPU's own element, which one run of the program at a time holds.
    let context: &mut Context<A> = unsafe { &mut *context };
    match A::parse(packet, &mut context.parsed) {
        Ok(Kind::Whole) => match forward(packet, context) {
            Ok(verdict) => verdict,
            Err(Verdict::Drop(reason)) => {
                answer::answer(packet, &context.parsed, context.way.mtu, reason)
            }
            Err(verdict) => verdict,
        },
        Ok(Kind::Icmp) => {
            let verdict = forward_error(packet, context).verdict();
            if verdict == Verdict::Drop(DropReason::BackendRefused) {
                flow::abandon(&context.quoted.key, &context.way, clock::now_ns());
            }
            verdict
        }
        Ok(Kind::Fragment) => forward_fragment(packet, context).verdict(),
        Err(verdict) => verdict,
    }
}

#[inline(always)]
fn forward<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<Verdict, Verdict> {
    account::step(Explanation::PARSED, |_| {});
    let control = route::control().ok_or(Verdict::Pass(PassReason::NotOurs))?;
    let now = clock::now_ns();
    let Context { parsed, way, .. } = context;
    let side = frontend::find(&parsed.key, parsed.protocol)?;
    let opens = match flow::follow(parsed, control, now, way)? {
        Found::None => true,
        Found::Way if way.doubt == Doubt::None => false,
        Found::Way => match (leave(context), side) {
            (true, Side::Backend) => return Err(Verdict::Drop(DropReason::BackendRefused)),
            (left, _) => left,
        },
    };
    if opens {
        choose(context, side).result()?;
        open_flow(context, packet.ingress_ifindex())?;
    }
    let Context { parsed, way, .. } = context;
    limit::meter(parsed, way, control, now)?;
    if !emit::fits(packet, parsed, way) {
        return Err(Verdict::Drop(DropReason::TooBig));
    }
    let is_first = matches!(parsed.oddity, Oddity::FirstFragment | Oddity::OddFragment);
    if is_first && !fragment::remember(parsed, way, now) {
        return Err(Verdict::Pass(PassReason::Fragment));
    }
    let ready = emit::prepare(way, control, now);
    translate::translate(packet, parsed, way)?;
    account::translated(way.frontend, way.direction, parsed.length);
    Ok(emit::emit(packet, &ready))
}

/// Whether a packet without a flow may open one, and to which backend.
#[inline(never)]
fn choose<A: Path>(context: &mut Context<A>, side: Side) -> Code {
    Code::of_result(try_choose(context, side))
}

#[inline(always)]
fn try_choose<A: Path>(context: &mut Context<A>, side: Side) -> Result<(), Verdict> {
    const NONE: Verdict = Verdict::Drop(DropReason::NoBackend);
    let now = clock::now_ns();
    context.now = now;
    context.client = context.parsed.key.source.ip();
    context.frontend = frontend::admit(&context.parsed, &context.client, side)?;
    let slot = context.frontend.slot;
    let set = frontend::set(&context.frontend, A::INDEX).ok_or(NONE)?;
    let public = context.parsed.key.destination.ip();
    if set.handed != 0 || !route::is_certain(&public, &context.client) {
        return Err(Verdict::Pass(PassReason::Unrouted));
    }
    context.backend = select::select(slot, A::INDEX, set, &context.client, now)?;
    context.is_capped = u32::from(set.limits.reply_cap != 0);
    limit::admit(&set.limits, slot, &context.client, now)
}

/// Opens the flow that was chosen.
#[inline(always)]
fn open_flow<A: Path>(context: &mut Context<A>, ingress: u32) -> Result<(), Verdict> {
    let mut opened = prepare(context, ingress).result();
    if opened.is_ok() {
        opened = claim(context).result();
    }
    if opened.is_ok() {
        opened = complete(context).result();
    }
    if opened.is_err() {
        limit::release(context.frontend.slot);
    }
    opened
}

#[inline(never)]
fn prepare<A: Path>(context: &mut Context<A>, ingress: u32) -> Code {
    Code::of_result(open::prepare(context, ingress))
}

#[inline(never)]
fn claim<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(claim::claim(context))
}

#[inline(never)]
fn complete<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(open::complete(context))
}

/// Ends a flow whose backend fails it, if another backend can take its client.
#[inline(never)]
fn leave<A: Path>(context: &mut Context<A>) -> bool {
    let now = clock::now_ns();
    let Context { parsed, way, .. } = context;
    let port = way.public_port(parsed.key.destination_port);
    can_move(parsed.protocol, port, A::INDEX, way.backend, now)
        && flow::abandon(&parsed.key, way, now)
}

/// Whether another backend of the port than this one can take a flow.
#[inline(always)]
fn can_move(protocol: Protocol, port: u16, family: u32, backend: u32, now: u64) -> bool {
    match frontend::at(protocol, port) {
        Some(frontend) if frontend.is_served() => match frontend::set(&frontend, family) {
            Some(set) => select::has_other(set, backend, now),
            None => false,
        },
        _ => false,
    }
}

/// An ICMP error about a packet that we have translated: it goes to whoever sent that, unless it
/// says that a new flow's backend cannot be reached and another one can take the flow: then `run`
/// ends the flow, because from here the stack would not suffice for that.
#[inline(never)]
fn forward_error<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    match try_forward_error(packet, context) {
        Ok(verdict) | Err(verdict) => Code::of(verdict),
    }
}

#[inline(always)]
fn try_forward_error<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<Verdict, Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::Icmp);
    let control = route::control().ok_or(OTHER)?;
    let now = clock::now_ns();
    let Context { quoted, way, .. } = context;
    icmp::read(packet, quoted)?;
    if !flow::quoted(&quoted.key, control, way)
        || !flow::is_credible(&quoted.key, way, quoted.sequence)
    {
        return Err(OTHER);
    }
    account::step(Explanation::QUOTED, |_| {});
    let port = way.public_port(quoted.key.destination_port);
    if quoted.is_unreachable
        && flow::is_young(&quoted.key, way)
        && can_move(quoted.protocol, port, A::INDEX, way.backend, now)
    {
        return Err(Verdict::Drop(DropReason::BackendRefused));
    }
    let ready = emit::prepare(way, control, now);
    icmp::translate(packet, quoted, way).result()?;
    account::translated(way.frontend, way.direction, quoted.length);
    Ok(emit::emit(packet, &ready))
}

/// A later fragment goes where the first one went.
#[inline(never)]
fn forward_fragment<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    let now = clock::now_ns();
    let Context { parsed, way, .. } = context;
    if let Err(verdict) = fragment::follow(parsed, way, now) {
        return Code::of(verdict);
    }
    account::translated(way.frontend, way.direction, parsed.length);
    Code::of(fragment::translate(packet, parsed, way, now))
}
