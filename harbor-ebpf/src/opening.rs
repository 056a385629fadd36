//! Opens flows, and decides about those that their backends fail.

use harbor_common::{
    client::ClientKey,
    flow::Flow,
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    clock,
    code::Code,
    config, frontends,
    maps::Context,
    packet::{Packet, SocketBuffer},
    parsed::Oddity,
    phases::Path,
    reverse_path, route,
    scan::{self, Bounds},
    stage::{claim, flow, frontend, join, limit, open, select, translate},
    suspicion,
    way::Doubt,
};

/// Opens a flow for a packet that has none, or says why not.
#[inline(always)]
pub fn open<A: Path, P: SocketBuffer>(packet: &mut P, context: &mut Context<A>) -> Code {
    Code::of_result(try_open(packet, context))
}

#[inline(always)]
fn try_open<A: Path, P: SocketBuffer>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<(), Verdict> {
    if config::former_opens() {
        return Err(Verdict::Pass(PassReason::NoFlow));
    }
    context.now = clock::now_ns();
    context.client = context.parsed.key.source.ip();
    admit(context).result()?;
    // No backend answers a damaged packet, and then it would look like one that is gone.
    if !is_sound(packet, context) {
        return Err(Verdict::Drop(DropReason::BadChecksum));
    }
    let public = context.parsed.key.destination.ip();
    let Context { client, back, .. } = &mut *context;
    reverse_path::check(&public, client, packet.ingress_ifindex(), back)?;
    context.is_join = u32::from(join::is_join(packet, &context.parsed));
    choose(context).result()?;
    enter(packet, context)
}

/// Whether the packet may open a flow. A frame of its own: what it needs, the deepest chain of calls need not
/// carry (Linux 6.1 allows 512 octets for all frames together).
#[inline(never)]
fn admit<A: Path>(context: &mut Context<A>) -> Code {
    let Context {
        parsed,
        client,
        frontend,
        now,
        share,
        ..
    } = context;
    let admitted = frontend::admit(parsed, client, *frontend, *now);
    Code::of_result(admitted.map(|found| *share = found))
}

/// Whether a packet that would open a flow is undamaged, as far as can be known: the checksum of a
/// first fragment covers more than is here.
#[inline(never)]
fn is_sound<A: Path, P: SocketBuffer>(packet: &mut P, context: &Context<A>) -> bool {
    let parsed = &context.parsed;
    !matches!(parsed.oddity, Oddity::None) || translate::is_sound(packet, parsed)
}

/// Chooses the backend of a new flow.
#[inline(never)]
fn choose<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(try_choose(context))
}

/// Claims a source port for a new flow.
#[inline(never)]
fn claim<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(claim::claim(context))
}

#[inline(always)]
fn try_choose<A: Path>(context: &mut Context<A>) -> Result<(), Verdict> {
    const NONE: Verdict = Verdict::Drop(DropReason::NoBackend);
    let now = context.now;
    let slot = context.frontend.slot;
    let set = frontends::set(&context.frontend, A::INDEX).ok_or(NONE)?;
    if set.handed != 0 || !route::is_certain(&context.back) {
        return Err(Verdict::Pass(PassReason::Unrouted));
    }
    let bounds = Bounds {
        avoided: context.avoided,
        takes_turn: context.is_join == 0,
        now,
    };
    context.backend = select::select(slot, A::INDEX, set, &context.client, bounds)?;
    context.is_capped = u32::from(set.limits.reply_cap != 0);
    context.client_key = ClientKey::new(slot, &context.parsed.key.source);
    let Context {
        client, client_key, ..
    } = context;
    limit::admit(&set.limits, slot, client, client_key, now)
}

/// Enters a new flow into the tables, or takes back that it was counted.
#[inline(always)]
fn enter<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Result<(), Verdict> {
    let mut entered = prepare(context, packet.ingress_ifindex()).result();
    if entered.is_ok() {
        entered = claim(context).result();
    }
    if entered.is_ok() {
        entered = complete(context).result();
    }
    if entered.is_err() {
        limit::release(context.frontend.slot);
    }
    entered
}

#[inline(never)]
fn prepare<A: Path>(context: &mut Context<A>, ingress: u32) -> Code {
    Code::of_result(open::prepare(context, ingress))
}

#[inline(never)]
fn complete<A: Path>(context: &mut Context<A>) -> Code {
    Code::of_result(open::complete(context))
}

/// Another backend can take a flow now.
pub const HAS_OTHER: u32 = 1;
/// Enough backends would be left if new flows avoided this one.
const HAS_ROOM: u32 = 2;

/// Works out what the port has without a backend that fails a flow: a sum of the constants above. Leaves
/// in `sighting` what was seen.
#[inline(never)]
pub fn weigh<A: Path>(context: &mut Context<A>, protocol: Protocol, arrived_at: u16) -> u32 {
    let now = clock::now_ns();
    let Context {
        parsed,
        way,
        sighting,
        ..
    } = context;
    let mut outlook = 0;
    if let Some(frontend) = frontends::at(protocol, way.public_port(arrived_at))
        && frontend.is_served()
        && let Some(set) = frontends::set(&frontend, A::INDEX)
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
    outlook
}

/// Holds what was weighed against the backend; a refusal was held against it when it happened.
#[inline(always)]
pub fn testify<A: Path>(context: &mut Context<A>) {
    if context.way.word & Flow::<A>::REFUSED == 0 {
        suspicion::testify(&mut context.sighting);
    }
}

/// Ends a client's flow that its backend fails, if another backend can take it.
#[inline(never)]
fn leave<A: Path>(context: &mut Context<A>, outlook: u32) -> bool {
    let Context { parsed, way, .. } = context;
    let is_silent = way.doubt == Doubt::Silent;
    let has_moved = way.word & Flow::<A>::MOVED != 0;
    // A backend may merely be slow to answer: on silence alone a flow moves once.
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

/// Decides about a flow that its backend fails: it stays, or ends so that the packet opens another.
#[inline(always)]
pub fn reconsider<A: Path, P: Packet>(_packet: &mut P, context: &mut Context<A>) -> Code {
    let parsed = &context.parsed;
    let (protocol, number) = (parsed.protocol, parsed.key.protocol);
    let outlook = weigh(context, protocol, parsed.key.destination_port);
    testify(context);
    if context.frontend.is_served() {
        context.opens = u32::from(leave(context, outlook));
    } else if outlook & HAS_OTHER != 0 && flow::refuse(&context.way, number) {
        return Code::of(Verdict::Drop(DropReason::BackendRefused));
    }
    Code::of_result(Ok(()))
}
