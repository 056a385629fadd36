//! Takes over flows that other tables have: those of the program that served before.
//!
//! The reply entry goes in first, then the forward entry, each only if nobody has its key. Of two flows
//! that want one key that one stays which is in use and began later. A flow that is here already learns what has happened to it
//! there since.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::{bpf_skb_load_bytes, generated::bpf_loop},
};
use harbor_common::{
    addr::{Family, Ip, Ipv4, Ipv6},
    adoption::Adoption,
    checksum,
    flow::{Flow, FlowKey, Phase},
};

use crate::{
    atomic, clients,
    family::Stack,
    maps::{ADOPTION, BACKEND_STATE, FRONTEND_STATE, Scratch},
    route::UNROUTED,
    table::{self, change_state, enter, opposite, remove, retire_either, set_kept},
};

/// `bpf_map_update_elem` found the key taken.
const EEXIST: i32 = -17;

/// A walk over the list of flows, by `bpf_loop`.
struct List {
    skb: *mut __sk_buff,
    settled: u32,
    late: u32,
}

/// Takes over the flows that a list behind an Ethernet header names. Below, for how many there was room;
/// above, how many of these found another flow in their place.
#[inline(always)]
pub fn adopt_all(skb: *mut __sk_buff) -> u32 {
    let mut list = List {
        skb,
        settled: 0,
        late: 0,
    };
    let step = adopt_at as unsafe extern "C" fn(u64, *mut c_void) -> i64;
    let count = Adoption::PER_RUN as u32;
    // SAFETY: the callback takes what it is given here, which outlives the call.
    unsafe { bpf_loop(count, step as *mut c_void, (&raw mut list).cast(), 0) };
    list.late << 16 | list.settled
}

/// Takes over the flow that an element of the list names; 1 at the end of the list.
///
/// # Safety
///
/// Called by `bpf_loop` with a [`List`].
unsafe extern "C" fn adopt_at(index: u64, list: *mut c_void) -> i64 {
    const ETHERNET: u32 = 14;
    const LENGTH: u32 = size_of::<Adoption>() as u32;
    // SAFETY: by the caller.
    let list = unsafe { &mut *list.cast::<List>() };
    let Some(adoption) = ADOPTION.get_ptr_mut(0) else {
        return 1;
    };
    let offset = ETHERNET + index as u32 * LENGTH;
    // SAFETY: this CPU's own element, as large as the constant length says.
    let result = unsafe { bpf_skb_load_bytes(list.skb.cast(), offset, adoption.cast(), LENGTH) };
    if result != 0 {
        return 1;
    }
    // SAFETY: as above; any bytes are a valid value.
    let adoption = unsafe { &*adoption };
    let entered = if adoption.family == Ipv4::INDEX {
        adopt::<Ipv4>(adoption)
    } else {
        adopt::<Ipv6>(adoption)
    };
    list.settled += u32::from(entered != Entered::NoRoom as u32);
    list.late += u32::from(entered == Entered::Late as u32);
    0
}

#[inline(always)]
fn narrow<A: Family>(address: Ipv6) -> A {
    A::of(&Ip {
        octets: address.octets,
    })
}

/// Enters one flow, both ways or not at all: what became of it, an [`Entered`].
#[inline(never)]
fn adopt<A: Stack>(adoption: &Adoption) -> u32 {
    let Some(scratch) = A::scratch() else {
        return Entered::NoRoom as u32;
    };
    // SAFETY: this CPU's own element, which one run of the program at a time holds.
    let scratch = unsafe { &mut *scratch };
    name(adoption, scratch);
    match enter_direction(adoption, scratch, Flow::<A>::REPLY) {
        Entered::New => {}
        Entered::Known => {
            learn(adoption, scratch);
            return Entered::Known as u32;
        }
        refused => return refused as u32,
    }
    match enter_direction(adoption, scratch, Flow::<A>::FORWARD) {
        Entered::New => {}
        refused => {
            remove(&scratch.reply_key);
            return refused as u32;
        }
    }
    count(adoption);
    if adoption.word & Flow::<A>::KEPT != 0 {
        clients::keep(adoption.frontend, &scratch.key.source);
    }
    Entered::New as u32
}

/// The keys of a flow's two entries.
#[inline(always)]
fn name<A: Stack>(adoption: &Adoption, scratch: &mut Scratch<A>) {
    let Scratch { key, reply_key, .. } = scratch;
    let wide = &adoption.key;
    key.source = narrow(wide.source);
    key.destination = narrow(wide.destination);
    key.source_port = wide.source_port;
    key.destination_port = wide.destination_port;
    key.protocol = wide.protocol;
    reply_key.source = narrow(adoption.backend_address);
    reply_key.destination = narrow(adoption.source);
    reply_key.source_port = adoption.backend_port;
    reply_key.destination_port = adoption.source_port;
    reply_key.protocol = wide.protocol;
}

/// What became of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Entered {
    New,
    /// It was here.
    Known,
    /// Another flow has its key and keeps it.
    Late,
    NoRoom,
}

/// Enters one direction.
#[inline(never)]
fn enter_direction<A: Stack>(
    adoption: &Adoption,
    scratch: &mut Scratch<A>,
    direction: u16,
) -> Entered {
    fill(adoption, scratch, direction);
    let key = match direction {
        Flow::<A>::FORWARD => &scratch.key,
        _ => &scratch.reply_key,
    };
    match enter(key, &raw const scratch.flow) {
        Ok(()) => return Entered::New,
        Err(EEXIST) => {}
        Err(_) => return Entered::NoRoom,
    }
    match yields(adoption, key) {
        Entered::New if enter(key, &raw const scratch.flow).is_err() => Entered::Late,
        entered => entered,
    }
}

/// Whether the holder of a key makes room ([`Entered::New`]), or is the flow itself.
#[inline(never)]
fn yields<A: Stack>(adoption: &Adoption, key: &FlowKey<A>) -> Entered {
    let Some(held) = A::flows().get_ptr_mut(key) else {
        return Entered::New;
    };
    // SAFETY: from the lookup above.
    let (word, opened, direction, other) = unsafe {
        (
            table::word(held),
            (*held).opened,
            (*held).direction,
            (*held).opposite_key(key.protocol),
        )
    };
    if Flow::<A>::cookie(word) == Flow::<A>::cookie(adoption.word) {
        return Entered::Known;
    }
    let is_in_use = Phase::of(adoption.word, adoption.reply_bits).is_kept(key.protocol);
    let is_later = adoption.opened.wrapping_sub(opened) as i32 > 0;
    let is_young = word & Flow::<A>::LIVE == 0;
    if is_in_use && (is_later || is_young) && retire_either(key, word, direction, &other) {
        Entered::New
    } else {
        Entered::Late
    }
}

/// Fills in one direction's entry, whose packets leave as what the other direction's key expects. The
/// first one looks its route up.
#[inline(always)]
fn fill<A: Stack>(adoption: &Adoption, scratch: &mut Scratch<A>, direction: u16) {
    let Scratch {
        key,
        reply_key,
        flow,
    } = scratch;
    let cookie = adoption.word >> Flow::<A>::STATE_BITS << Flow::<A>::STATE_BITS;
    let (way, own, other) = match direction {
        Flow::<A>::FORWARD => (0, &*key, &*reply_key),
        _ => (1, &*reply_key, &*key),
    };
    flow.word = match way {
        0 => adoption.word,
        _ => cookie | adoption.reply_bits,
    };
    flow.seen_ns = adoption.seen_ns[way];
    flow.packets = adoption.packets[way];
    flow.bytes = adoption.bytes[way];
    flow.source = other.destination;
    flow.destination = other.source;
    flow.source_port = other.destination_port;
    flow.destination_port = other.source_port;
    (flow.address_delta, flow.port_delta) = checksum::deltas(own, other);
    flow.direction = direction;
    flow.mtu = 0;
    flow.ifindex = adoption.ifindex[way];
    flow.next_hop = 0;
    flow.route_generation = UNROUTED;
    flow.backend = adoption.backend;
    flow.backend_generation = adoption.backend_generation;
    flow.frontend = adoption.frontend;
    flow.acknowledged = adoption.acknowledged[way];
    flow.next_sequence = adoption.next_sequence[way];
    flow.opened = adoption.opened;
}

/// Takes over what has happened to a flow that is here already.
#[inline(never)]
fn learn<A: Stack>(adoption: &Adoption, scratch: &Scratch<A>) -> bool {
    let Scratch { key, reply_key, .. } = scratch;
    let both = [(key, adoption.word), (reply_key, adoption.reply_bits)];
    let mut way = 0;
    while way < 2 {
        let (at, bits) = both[way];
        let Some(entry) = opposite(at, adoption.word) else {
            return true;
        };
        let bits = bits & ((1 << Flow::<A>::STATE_BITS) - 1) & !Flow::<A>::KEPT;
        // SAFETY: from the lookup in `opposite`.
        let word = unsafe { table::word(entry) };
        let _ = change_state(entry, word, bits, 0);
        // SAFETY: as above. Aligned words; whoever has seen the later packet knows the numbers.
        unsafe {
            if adoption.seen_ns[way] > (*entry).seen_ns {
                (*entry).seen_ns = adoption.seen_ns[way];
                (*entry).acknowledged = adoption.acknowledged[way];
                (*entry).next_sequence = adoption.next_sequence[way];
                (*entry).route_generation = UNROUTED;
            }
        }
        way += 1;
    }
    if adoption.word & Flow::<A>::KEPT != 0
        && let Some(entry) = opposite(key, adoption.word)
        && set_kept(entry, adoption.word, true)
    {
        clients::keep(adoption.frontend, &key.source);
    }
    true
}

/// Counts the flow among those of its port and of its backend.
#[inline(always)]
fn count(adoption: &Adoption) {
    if let Some(state) = FRONTEND_STATE.get_ptr_mut(adoption.frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*state).flows, 1) };
    }
    if let Some(state) = BACKEND_STATE.get_ptr_mut(adoption.backend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*state).flows, 1) };
    }
}
