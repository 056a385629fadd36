//! The packet path in reading order.
//!
//! What most packets need is one function; what few need are functions of their own, each returning
//! one register (`code`), so that the kernel's 512 octets of stack suffice for every chain of calls.

use harbor_common::{
    explain::Explanation,
    flow::Flow,
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, clock,
    code::Code,
    credible::is_credible,
    family::Stack,
    maps::Context,
    packet::Packet,
    route,
    scan::{self, Bounds},
    stage::{
        answer::{self, Complain},
        claim, emit,
        flow::{self, Found},
        fragment,
        frontend::{self, Side},
        icmp::{self, Errors},
        join, limit, open,
        parse::{self, Kind, Oddity, Version},
        select, translate,
    },
    suspicion,
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
        Ok(Kind::Icmp) => match find_error(packet, context).result() {
            Ok(()) => pass_error(packet, context).verdict(),
            Err(verdict) => verdict,
        },
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
        Found::None => {
            (context.avoided, context.is_moved) = (scan::NOBODY, 0);
            true
        }
        Found::Way if way.doubt == Doubt::None => false,
        Found::Way => {
            let outlook = weigh(
                context,
                context.parsed.protocol,
                context.parsed.key.destination_port,
            );
            let number = context.parsed.key.protocol;
            match side {
                Side::Backend if outlook & HAS_OTHER != 0 && flow::refuse(&context.way, number) => {
                    return Err(Verdict::Drop(DropReason::BackendRefused));
                }
                Side::Backend => false,
                Side::Client(_) => leave(context, outlook),
            }
        }
    };
    if opens {
        admit(context, side).result()?;
        // A backend would not answer a broken packet, and nothing would tell it from one that is gone.
        if !is_sound(packet, context) {
            return Err(Verdict::Drop(DropReason::BadChecksum));
        }
        context.is_join = u32::from(join::is_join(packet, &context.parsed));
        choose(context).result()?;
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

/// Whether a packet without a flow may open one, and of which frontend.
#[inline(never)]
fn admit<A: Path>(context: &mut Context<A>, side: Side) -> Code {
    context.now = clock::now_ns();
    context.client = context.parsed.key.source.ip();
    match frontend::admit(&context.parsed, &context.client, side) {
        Ok(frontend) => {
            context.frontend = frontend;
            Code::of_result(Ok(()))
        }
        Err(verdict) => Code::of(verdict),
    }
}

/// Whether a client's packet that would open a flow is whole.
#[inline(never)]
fn is_sound<A: Path, P: Packet>(packet: &mut P, context: &Context<A>) -> bool {
    let parsed = &context.parsed;
    !matches!(parsed.oddity, Oddity::None) || translate::is_sound(packet, parsed)
}

/// Which backend a new flow goes to.
#[inline(never)]
fn choose<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(try_choose(context))
}

#[inline(always)]
fn try_choose<A: Path>(context: &mut Context<A>) -> Result<(), Verdict> {
    const NONE: Verdict = Verdict::Drop(DropReason::NoBackend);
    let now = context.now;
    let slot = context.frontend.slot;
    let set = frontend::set(&context.frontend, A::INDEX).ok_or(NONE)?;
    let public = context.parsed.key.destination.ip();
    if set.handed != 0 || !route::is_certain(&public, &context.client) {
        return Err(Verdict::Pass(PassReason::Unrouted));
    }
    let bounds = Bounds {
        avoided: context.avoided,
        takes_turn: context.is_join == 0,
        now,
    };
    context.backend = select::select(slot, A::INDEX, set, &context.client, bounds)?;
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

/// Another backend can take a flow now.
const HAS_OTHER: u32 = 1;
/// So many backends are left that this one may be taken from others.
const HAS_ROOM: u32 = 2;

/// A flow's backend fails it: notes that, and answers with what becomes of the port without that backend,
/// a sum of the constants above.
#[inline(never)]
fn weigh<A: Path>(context: &mut Context<A>, protocol: Protocol, arrived_at: u16) -> u32 {
    let now = clock::now_ns();
    let Context {
        parsed,
        way,
        sighting,
        ..
    } = context;
    let mut outlook = 0;
    if let Some(frontend) = frontend::at(protocol, way.public_port(arrived_at))
        && frontend.is_served()
        && let Some(set) = frontend::set(&frontend, A::INDEX)
    {
        let (has_other, has_room) = scan::survey(set, way.backend, now);
        outlook = u32::from(has_other) * HAS_OTHER + u32::from(has_room) * HAS_ROOM;
    }
    sighting.at_ns = now;
    sighting.backend = way.backend;
    sighting.generation = way.backend_generation;
    sighting.reason = way.doubt as u32;
    sighting.has_room = outlook & HAS_ROOM;
    sighting.client = if way.direction == Flow::<A>::FORWARD {
        parsed.key.source.ip()
    } else {
        way.destination.ip()
    };
    if way.word & Flow::<A>::REFUSED == 0 {
        // What has refused the flow was noted when it did.
        suspicion::testify(sighting);
    }
    outlook
}

/// Ends a client's flow whose backend fails it, if another backend can take it.
#[inline(never)]
fn leave<A: Path>(context: &mut Context<A>, outlook: u32) -> bool {
    let Context { parsed, way, .. } = context;
    let is_silent = way.doubt == Doubt::Silent;
    let has_moved = way.word & Flow::<A>::MOVED != 0;
    // Whoever answers late is waited for: on silence alone a flow moves once.
    let may_leave = !is_silent || !has_moved || !scan::is_well(way.backend, clock::now_ns());
    if outlook & HAS_OTHER == 0 || !may_leave {
        flow::forgive(&parsed.key, way);
        return false;
    }
    let has_left = flow::end(&parsed.key, way);
    context.avoided = context.way.backend;
    context.is_moved = u32::from(is_silent || has_moved);
    has_left
}

/// Finds the flow of the packet that an ICMP error is about. An error that says that a flow's backend
/// cannot be reached moves the flow, if another backend can take it.
#[inline(never)]
fn find_error<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    Code::of_result(try_find_error(packet, context))
}

#[inline(always)]
fn try_find_error<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<(), Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::Icmp);
    let control = route::control().ok_or(OTHER)?;
    let Context { quoted, way, .. } = context;
    icmp::read(packet, quoted)?;
    if !flow::quoted(&quoted.key, control, way)
        || !is_credible(quoted, way, packet.ingress_ifindex())
    {
        return Err(OTHER);
    }
    account::step(Explanation::QUOTED, |_| {});
    if quoted.is_unreachable && flow::is_young(&quoted.key, way) {
        let (protocol, arrived_at) = (quoted.protocol, quoted.key.destination_port);
        if weigh(context, protocol, arrived_at) & HAS_OTHER != 0 {
            flow::refuse(&context.way, context.quoted.key.protocol);
            return Err(Verdict::Drop(DropReason::BackendRefused));
        }
    }
    Ok(())
}

/// An ICMP error goes to whoever sent the packet that it is about.
#[inline(never)]
fn pass_error<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    match try_pass_error(packet, context) {
        Ok(verdict) | Err(verdict) => Code::of(verdict),
    }
}

#[inline(always)]
fn try_pass_error<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<Verdict, Verdict> {
    let control = route::control().ok_or(Verdict::Pass(PassReason::Icmp))?;
    let Context { quoted, way, .. } = context;
    let ready = emit::prepare(way, control, clock::now_ns());
    icmp::translate(packet, quoted, way, control.min_path_mtu).result()?;
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
