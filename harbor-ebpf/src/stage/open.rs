//! Opens a flow: makes room, fills in its two entries, and enters the forward direction once
//! `claim` has entered the reply direction, so that both exist or neither does.

use harbor_common::{
    backend::{Backend, BackendState},
    checksum,
    explain::Explanation,
    flow::{Flow, OPENED_SHIFT},
    protocol::Protocol,
    verdict::{DropReason, Verdict},
};

use crate::{
    account, atomic, config,
    family::Stack,
    maps::{BACKEND_STATE, BACKENDS, Context, SOURCES},
    ring,
    route::{self, Exit},
    table::{self, RACE, enter},
    way::{Doubt, Way},
};

/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// Makes room, and fills in a flow's two entries, but for what depends on its source.
#[inline(always)]
pub fn prepare<A: Stack>(context: &mut Context<A>, ingress: u32) -> Result<(), Verdict> {
    let backend = BACKENDS.get(context.backend).ok_or(RACE)?;
    let place = ring::next::<A>(context.frontend.slot, context.parsed.protocol).ok_or(RACE)?;
    context.ring_index = place.index;
    ring::make_room(place.index, &mut context.former, context.now);
    begin_forward(context, backend, place.cookie);
    begin_reply(context, backend, ingress);
    Ok(())
}

/// Enters the forward direction of a flow whose reply direction is in the table, or removes the
/// latter.
#[inline(always)]
pub fn complete<A: Stack>(context: &mut Context<A>) -> Result<(), Verdict> {
    finish(context);
    let Context {
        parsed,
        way,
        forward,
        reply_key,
        ring_index,
        ..
    } = context;
    match enter(&parsed.key, &raw const *forward) {
        Ok(()) => {
            ring::enter(*ring_index, Flow::<A>::cookie(forward.word), &parsed.key);
            account::opened(forward.frontend);
            count_flow(forward.backend);
            set_way(way, forward);
            Ok(())
        }
        Err(error) => {
            table::remove(reply_key);
            Err(if error == EEXIST {
                RACE
            } else {
                Verdict::Drop(DropReason::FlowsFull)
            })
        }
    }
}

/// Fills in the forward entry, but for what depends on the source address and port.
#[inline(always)]
fn begin_forward<A: Stack>(context: &mut Context<A>, backend: &Backend, cookie: u64) {
    let Context {
        parsed, forward, ..
    } = context;
    let route_generation = match route::control() {
        Some(control) => control.route_generation,
        None => 0,
    };
    let mut word = cookie << Flow::<A>::STATE_BITS;
    if context.is_capped != 0 && matches!(parsed.protocol, Protocol::Udp) {
        word |= Flow::<A>::CAPPED;
    }
    if context.is_moved != 0 && matches!(parsed.protocol, Protocol::Tcp) {
        word |= Flow::<A>::MOVED;
    }
    let exit = way_to(context.backend, backend, route_generation);
    forward.word = word;
    forward.seen_ns = context.now;
    forward.packets = 1;
    forward.bytes = u64::from(parsed.length);
    forward.destination = A::of(&backend.address);
    forward.destination_port = backend.port;
    forward.direction = Flow::<A>::FORWARD;
    forward.mtu = exit.mtu16();
    forward.ifindex = exit.ifindex;
    forward.next_hop = exit.next_hop;
    forward.route_generation = route_generation;
    forward.backend = context.backend;
    forward.backend_generation = backend.generation;
    forward.frontend = context.frontend.slot;
    forward.acknowledged = 0;
    forward.next_sequence = match parsed.protocol {
        Protocol::Tcp => parsed.tcp.sequence.wrapping_add(parsed.sequence_space()),
        Protocol::Udp => u32::from(parsed.mark),
    };
    forward.opened = (context.now >> OPENED_SHIFT) as u32;
}

/// The route to a backend, as found for an earlier flow if no route has changed since.
#[inline(always)]
fn way_to(slot: u32, backend: &Backend, route_generation: u32) -> Exit {
    let mut exit = Exit::by(backend.ifindex);
    let Some(state) = BACKEND_STATE.get_ptr_mut(slot) else {
        return exit;
    };
    // SAFETY: aligned words of a map value. Two CPUs that write at once write the same, and a route
    // that is read half old and half new leaves by the one interface or the other, because a next
    // hop names its interface.
    let state: &mut BackendState = unsafe { &mut *state };
    if state.route_generation == route_generation && state.ifindex != 0 {
        exit.ifindex = state.ifindex;
        exit.next_hop = state.next_hop;
        exit.mtu = state.mtu;
        return exit;
    }
    let Some(sources) = SOURCES.get(backend.sources) else {
        return exit;
    };
    if route::find(&sources.addresses[0], &backend.address, &mut exit) && !config::is_dry_run() {
        state.ifindex = exit.ifindex;
        state.next_hop = exit.next_hop;
        state.mtu = exit.mtu;
        state.route_generation = route_generation;
    }
    exit
}

/// Fills in the reply entry and its key, but for what depends on the source.
#[inline(always)]
fn begin_reply<A: Stack>(context: &mut Context<A>, backend: &Backend, ingress: u32) {
    let Context {
        parsed,
        forward,
        reply,
        reply_key,
        back,
        ..
    } = context;
    let key = &parsed.key;
    reply_key.source = forward.destination;
    reply_key.source_port = backend.port;
    reply_key.destination_port = key.source_port;
    reply_key.protocol = key.protocol;
    reply.word = forward.word & !Flow::<A>::MOVED;
    reply.seen_ns = forward.seen_ns;
    reply.packets = 0;
    reply.bytes = 0;
    reply.source = key.destination;
    reply.destination = key.source;
    reply.source_port = key.destination_port;
    reply.destination_port = key.source_port;
    reply.direction = Flow::<A>::REPLY;
    if back.ifindex == 0 {
        // The first reply looks its route up, as after a change.
        (reply.ifindex, reply.next_hop, reply.mtu) = (ingress, 0, 0);
        reply.route_generation = forward.route_generation.wrapping_sub(1);
    } else {
        (reply.ifindex, reply.next_hop, reply.mtu) = (back.ifindex, back.next_hop, back.mtu16());
        reply.route_generation = forward.route_generation;
    }
    reply.backend = forward.backend;
    reply.backend_generation = forward.backend_generation;
    reply.frontend = forward.frontend;
    reply.acknowledged = 0;
    reply.next_sequence = 0;
    reply.opened = forward.opened;
}

/// Completes the forward entry with the source that was claimed.
#[inline(always)]
fn finish<A: Stack>(context: &mut Context<A>) {
    let Context {
        parsed,
        forward,
        reply_key,
        ..
    } = context;
    let key = &parsed.key;
    forward.source = reply_key.destination;
    forward.source_port = reply_key.destination_port;
    (forward.address_delta, forward.port_delta) = checksum::deltas(key, reply_key);
    account::step(Explanation::ROUTED, |note| {
        (note.next_hop, note.ifindex) = (forward.next_hop, forward.ifindex);
    });
}

/// Gives the first packet its translation.
#[inline(always)]
fn set_way<A: Stack>(way: &mut Way<A>, forward: &Flow<A>) {
    macro_rules! copy {
        ($($name:ident),+) => { $(way.$name = forward.$name;)+ };
    }
    copy!(word, source, destination, source_port, destination_port);
    copy!(address_delta, port_delta, direction, mtu, ifindex, next_hop);
    copy!(frontend, backend, backend_generation);
    way.doubt = Doubt::None;
}

#[inline(always)]
fn count_flow(backend: u32) {
    if let Some(state) = BACKEND_STATE.get_ptr_mut(backend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*state).flows, 1) };
    }
}
