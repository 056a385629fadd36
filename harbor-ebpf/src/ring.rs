//! Rings of the latest flows: the oldest one that is not kept makes room for a new one.
//!
//! Each ring serves the frontends of some slots. A new flow takes the next place of its ring, and
//! the flow that took that place one round ago is ended unless it is kept: unless both sides have
//! shown that they use it. So a ring never has more half-open flows than places, and a flooded port
//! evicts flows of its own ring alone.

use harbor_common::{
    flow::{Flow, FlowKey},
    maps::{RING_SHARES, RING_SLOTS, RINGS, SHARES_PER_RING},
    protocol::Protocol,
};

use crate::{
    atomic, config,
    family::Stack,
    maps::HANDS,
    table::{self, retire},
};

/// A place in a ring, and the cookie of the flow that takes it.
#[derive(Clone, Copy)]
pub struct Place {
    /// Element of `ring` or `ring6`.
    pub index: u32,
    /// Never used twice.
    pub cookie: u64,
}

/// The next place in the ring of a frontend.
#[inline(always)]
pub fn next<A: Stack>(frontend: u32, protocol: Protocol) -> Option<Place> {
    let first = match protocol {
        Protocol::Tcp => 0,
        Protocol::Udp => RINGS,
    };
    let share = (first + (frontend & (RINGS - 1))) * SHARES_PER_RING;
    let ring = share + A::INDEX * RING_SHARES;
    let hand = HANDS.get_ptr_mut(ring)?;
    // SAFETY: a field of a map value, aligned to 8.
    let count = unsafe { atomic::fetch_add(&raw mut (*hand).count, 1) };
    Some(Place {
        index: share * RING_SLOTS + (count as u32 & config::ring_mask(SHARES_PER_RING)),
        cookie: (count + 1) * u64::from(2 * RING_SHARES) + u64::from(ring),
    })
}

/// A UDP backend that has sent more than this many datagrams, the latest within [`SENDING_NS`], is
/// sending a stream: its flow is in use, though the client has not spoken again.
const FEW: u64 = 4;
const SENDING_NS: u64 = 1_000_000_000;

/// Retires the flow that took this slot one round ago, unless it is in use. `former` holds its key
/// meanwhile, because the key in the ring may change.
#[inline(never)]
pub fn make_room<A: Stack>(index: u32, former: &mut FlowKey<A>, now: u64) -> bool {
    let Some(slot) = A::ring_slot(index) else {
        return false;
    };
    // SAFETY: an element of the map; a torn key names no flow with this cookie.
    let cookie = unsafe { (*slot).cookie };
    if cookie == 0 {
        return false;
    }
    // SAFETY: as above.
    *former = unsafe { (*slot).key };
    let Some(entry) = A::flows().get_ptr(&*former) else {
        return false;
    };
    // SAFETY: from the lookup above; the cookie says whose it is.
    let (word, reply_key) = unsafe {
        (
            table::word(entry),
            (*entry).opposite_key((*former).protocol),
        )
    };
    Flow::<A>::cookie(word) == cookie
        && word & (Flow::<A>::KEPT | Flow::<A>::DEAD) == 0
        && !is_sent_to(&reply_key, word, now)
        && retire(former, word)
}

/// Whether a UDP backend is sending a stream to a client that has asked once.
#[inline(always)]
fn is_sent_to<A: Stack>(reply_key: &FlowKey<A>, word: u64, now: u64) -> bool {
    if word & Flow::<A>::LIVE == 0 || reply_key.protocol != Protocol::Udp.number() {
        return false;
    }
    match table::opposite(reply_key, word) {
        // SAFETY: from the lookup in `opposite`.
        Some(reply) => unsafe {
            (*reply).packets > FEW && now.saturating_sub((*reply).seen_ns) < SENDING_NS
        },
        None => false,
    }
}

/// Takes the slot. While it is half written, it names no flow.
#[inline(always)]
pub fn enter<A: Stack>(index: u32, cookie: u64, key: &FlowKey<A>) {
    if config::is_dry_run() {
        return;
    }
    let Some(slot) = A::ring_slot(index) else {
        return;
    };
    // SAFETY: an element of the map; two CPUs meet here only when the ring has gone round in
    // between, and a torn key then names no flow with that cookie.
    unsafe {
        (&raw mut (*slot).cookie).write_volatile(0);
        (&raw mut (*slot).key).write_volatile(*key);
        (&raw mut (*slot).cookie).write_volatile(cookie);
    }
}
