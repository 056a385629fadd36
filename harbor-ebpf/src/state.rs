//! Keeps the states of flows: carries out the steps of [`harbor_common::rules::transition`], and
//! answers their questions from the flow's other entry.

use harbor_common::{
    flow::{Flow, FlowKey, OPENED_SHIFT, Phase},
    protocol::Protocol,
    rules::transition::{self, Question},
    verdict::Verdict,
};

use crate::{
    clients, config,
    family::Stack,
    parsed::{Parsed, Tcp},
    suspicion,
    table::{self, RACE, change_state, opposite},
    way::{Doubt, Way},
};

const TCP: u32 = Protocol::Tcp.number();
/// A client's first ACK may acknowledge data that came with the SYN-ACK (TCP Fast Open).
const ACK_SLACK: u32 = 65_536;
/// A reset may lie this far beyond what the other side has acknowledged: an unscaled window.
const WINDOW: u32 = 65_535;
/// No segment moves a sequence number further at once.
pub const LEAP: u32 = 1 << 22;
/// A SYN that is repeated sooner says nothing about the backend: half a second, see `Flow::opened`.
const PATIENCE: u32 = (500_000_000u64 >> OPENED_SHIFT) as u32;

/// The key of a flow's other entry.
#[inline(always)]
pub fn opposite_key<A: Stack>(way: &Way<A>, protocol: u32) -> FlowKey<A> {
    FlowKey {
        source: way.destination,
        destination: way.source,
        source_port: way.destination_port,
        destination_port: way.source_port,
        protocol,
    }
}

/// Applies the packet's flags to the state of its entry, and to the other entry's where they
/// concern it.
#[inline(always)]
pub fn advance_tcp<A: Stack>(
    entry: *mut Flow<A>,
    way: &mut Way<A>,
    parsed: &Parsed<A>,
) -> Result<(), Verdict> {
    let tcp = &parsed.tcp;
    let opening = transition::Tcp::opening(way.word, tcp.flags, is_forward(way));
    let (mut adds, mut clears) = (opening.adds, 0);
    if opening.question == Question::TakesAnswer && takes_answer(way, tcp) {
        adds |= Flow::<A>::LIVE;
        suspicion::trust(way.backend);
    } else if opening.question == Question::AnswersSyn && answers_syn(way, tcp) {
        way.doubt = Doubt::Refused;
    }
    let closing = transition::Tcp::closing(way.word | adds, tcp.flags);
    adds |= closing.adds;
    if closing.question == Question::InWindow && reset(entry, way, tcp) {
        adds |= Flow::<A>::RST;
    } else if closing.question == Question::Contradicts {
        change_opposite(way, TCP, 0, Flow::<A>::RST);
        clears |= Flow::<A>::RESET;
    }
    change_state(entry, way.word, adds, clears)?;
    let has_begun = is_forward(way) && adds & Flow::<A>::LIVE != 0;
    let may_be_over = adds & (Flow::<A>::FIN | Flow::<A>::RST) != 0;
    if has_begun || may_be_over || closing.question == Question::Contradicts {
        recount(entry, way, &parsed.key);
    }
    Ok(())
}

/// Counts the flow among those that are kept, or no longer, after its phase may have changed.
#[inline(never)]
fn recount<A: Stack>(entry: *mut Flow<A>, way: &Way<A>, key: &FlowKey<A>) -> bool {
    let Some(other) = opposite(&opposite_key(way, key.protocol), way.word) else {
        return false;
    };
    let (forward, reply, client) = if is_forward(way) {
        (entry, other, &key.source)
    } else {
        (other, entry, &way.destination)
    };
    // SAFETY: from lookups of this program run.
    let phase = unsafe { Phase::of(table::word(forward), table::word(reply)) };
    let is_kept = phase.is_kept(key.protocol);
    if config::is_dry_run() || !table::set_kept(forward, way.word, is_kept) {
        return false;
    }
    if is_kept {
        clients::keep(way.frontend, client)
    } else {
        clients::release(way.frontend, client)
    }
}

#[inline(always)]
fn is_forward<A>(way: &Way<A>) -> bool {
    way.direction == Flow::<A>::FORWARD
}

/// Whether a client's ACK acknowledges the backend's SYN-ACK.
#[inline(never)]
fn takes_answer<A: Stack>(way: &Way<A>, tcp: &Tcp) -> bool {
    let Some(reply) = opposite(&opposite_key(way, TCP), way.word) else {
        return false;
    };
    // SAFETY: from the lookup in `opposite`.
    let (word, next) = unsafe {
        (
            table::word(reply),
            (&raw const (*reply).next_sequence).read_volatile(),
        )
    };
    word & Flow::<A>::LIVE != 0 && next.wrapping_sub(tcp.acknowledgment) < ACK_SLACK
}

/// Whether a backend's reset answers the client's SYN.
#[inline(never)]
fn answers_syn<A: Stack>(way: &Way<A>, tcp: &Tcp) -> bool {
    match opposite(&opposite_key(way, TCP), way.word) {
        Some(forward) => {
            // SAFETY: from the lookup in `opposite`.
            let (word, next) = unsafe { (table::word(forward), (*forward).next_sequence) };
            word & Flow::<A>::LIVE == 0 && tcp.acknowledgment == next
        }
        None => false,
    }
}

/// Marks the flow's other entry if a reset lies in the window; whether it does.
#[inline(never)]
fn reset<A: Stack>(entry: *mut Flow<A>, way: &Way<A>, tcp: &Tcp) -> bool {
    let Some(other) = opposite(&opposite_key(way, TCP), way.word) else {
        return true;
    };
    // SAFETY: from lookups of this program run.
    let (acknowledged, sent, word) = unsafe {
        (
            (*other).acknowledged,
            (*entry).next_sequence,
            table::word(other),
        )
    };
    let flight = sent.wrapping_sub(acknowledged);
    let window = if flight < LEAP && flight > WINDOW {
        flight
    } else {
        WINDOW
    };
    tcp.sequence.wrapping_sub(acknowledged) <= window
        && change_state(other, word, Flow::<A>::RESET, 0).is_ok()
}

/// Whether a client's SYN finds its old flow closed: then the connection is a new one, with a turn
/// of its own and never to a backend that drains. On any other flow the SYN is a repetition, or is
/// answered by the far end with a challenge (RFC 5961).
#[inline(never)]
pub fn begins_anew<A: Stack>(way: &Way<A>) -> bool {
    if way.word & (Flow::<A>::LIVE | Flow::<A>::FIN | Flow::<A>::RST) == 0 {
        return false;
    }
    match opposite(&opposite_key(way, TCP), way.word) {
        // SAFETY: from the lookup in `opposite`.
        Some(reply) => matches!(
            Phase::of(way.word, unsafe { table::word(reply) }),
            Phase::Closed | Phase::Reset
        ),
        None => true,
    }
}

/// Whether the client asks again because its backend has not answered for a while.
#[inline(never)]
pub fn is_unanswered<A: Stack>(entry: *mut Flow<A>, way: &Way<A>, now: u64) -> bool {
    if way.word & Flow::<A>::LIVE != 0 {
        return false;
    }
    // SAFETY: from a lookup of this program run.
    let opened = unsafe { (*entry).opened };
    if ((now >> OPENED_SHIFT) as u32).wrapping_sub(opened) < PATIENCE {
        return false;
    }
    match opposite(&opposite_key(way, TCP), way.word) {
        // SAFETY: from the lookup in `opposite`.
        Some(reply) => unsafe { table::word(reply) & (Flow::<A>::LIVE | Flow::<A>::HEARD) == 0 },
        None => true,
    }
}

/// Applies a datagram to the state of its entry, and of the flow's other one.
#[inline(always)]
pub fn advance_udp<A: Stack>(
    entry: *mut Flow<A>,
    way: &Way<A>,
    parsed: &Parsed<A>,
) -> Result<(), Verdict> {
    let step = transition::Udp::of(way.word, is_forward(way));
    if step.shared != 0 {
        suspicion::trust(way.backend);
    }
    if step.shared | step.clears != 0
        && !change_opposite(way, parsed.key.protocol, step.shared, step.clears)
    {
        return Err(RACE);
    }
    change_state(entry, way.word, step.adds, step.clears)?;
    if step.adds & Flow::<A>::STREAM != 0 {
        recount(entry, way, &parsed.key);
    }
    Ok(())
}

/// Changes the state of the flow's other entry; whether that was still there.
#[inline(never)]
fn change_opposite<A: Stack>(way: &Way<A>, protocol: u32, adds: u64, clears: u64) -> bool {
    match opposite(&opposite_key(way, protocol), way.word) {
        // SAFETY: from the lookup in `opposite`.
        Some(other) => change_state(other, unsafe { table::word(other) }, adds, clears).is_ok(),
        None => false,
    }
}
