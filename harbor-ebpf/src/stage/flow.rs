//! Finds the flow that a packet belongs to, and keeps its state.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use harbor_common::{
    backend::Backend,
    flow::{Flow, FlowKey, Phase},
    protocol::Protocol,
    verdict::{DropReason, PassReason, Verdict},
};

use super::parse::{Oddity, Parsed, Tcp};
use crate::{
    maps::{BACKENDS, FLOWS},
    table::{RACE, add_state, retire, unchanged},
};

/// A client's first ACK may acknowledge data that came with the SYN-ACK (TCP Fast Open).
const ACK_SLACK: u32 = 65_536;

/// The translation of the flow that this packet belongs to; `None` where there is no such flow.
#[inline(always)]
pub fn follow(parsed: &Parsed) -> Result<Option<Flow>, Verdict> {
    let Some(entry) = FLOWS.get_ptr_mut(parsed.key) else {
        return Ok(None);
    };
    // SAFETY: the pointer comes from the lookup above; reads of a recycled element are caught by
    // the comparison of words before the translation is used (`table`).
    let flow = unsafe { entry.read_volatile() };
    if flow.word & Flow::DEAD != 0 {
        return Err(RACE);
    }
    if is_backend_gone(&flow) {
        retire(&parsed.key, flow.word);
        return match flow.direction {
            Flow::REPLY => Err(Verdict::Drop(DropReason::BackendGone)),
            // The stack resets the connection, or the next backend takes the datagram.
            _ => Ok(None),
        };
    }
    match (parsed.oddity, parsed.protocol) {
        (Oddity::None, _) => {}
        (Oddity::Options, _) => return Err(Verdict::Drop(DropReason::FlowOptions)),
        (Oddity::FirstFragment, Protocol::Tcp) => {
            return Err(Verdict::Drop(DropReason::FlowFragment));
        }
        // The datagram's other fragments carry no ports and pass as well: the stack has them all.
        (Oddity::FirstFragment, Protocol::Udp) => {
            return Err(Verdict::Pass(PassReason::Fragment));
        }
    }
    if parsed.ttl <= 1 {
        return Err(Verdict::Drop(DropReason::TtlExpired));
    }
    if flow.direction == Flow::FORWARD && parsed.tcp.opens() && begins_anew(&flow) {
        return if retire(&parsed.key, flow.word) {
            Ok(None)
        } else {
            Err(RACE)
        };
    }
    match parsed.protocol {
        Protocol::Tcp => advance_tcp(entry, &flow, &parsed.tcp)?,
        Protocol::Udp => advance_udp(entry, &flow)?,
    }
    touch(entry, parsed.length);
    Ok(Some(flow))
}

/// The flow that an ICMP error belongs to; its state stays as it is.
#[inline(always)]
pub fn quoted(key: &FlowKey) -> Option<Flow> {
    let entry = FLOWS.get_ptr(key)?;
    // SAFETY: from the lookup above; a recycled element shows itself by its word.
    let flow = unsafe { entry.read_volatile() };
    // SAFETY: as above.
    let word = unsafe { (&raw const (*entry).word).read_volatile() };
    (word == flow.word && word & Flow::DEAD == 0 && !is_backend_gone(&flow)).then_some(flow)
}

#[inline(always)]
fn is_backend_gone(flow: &Flow) -> bool {
    let Some(backend) = BACKENDS.get_ptr(flow.backend) else {
        return true;
    };
    // SAFETY: an element of the map, aligned to 8; generation and state are its first eight bytes
    // and are read at once, as the agent writes them.
    let word = unsafe { backend.cast::<u64>().read_volatile() };
    word as u32 != flow.backend_generation || (word >> 32) as u32 == Backend::GONE
}

/// Takes the packet's flags into the state of its entry, and the flow's phase from there.
#[inline(always)]
fn advance_tcp(entry: *mut Flow, flow: &Flow, tcp: &Tcp) -> Result<(), Verdict> {
    let mut adds = 0;
    if flow.direction == Flow::FORWARD {
        if flow.word & Flow::LIVE == 0 && tcp.flags & Tcp::ACK != 0 && takes_answer(flow, tcp) {
            adds |= Flow::LIVE;
        }
    } else if tcp.accepts() && flow.word & Flow::LIVE == 0 {
        // SAFETY: the entry is in the map; the field is an aligned word of its own.
        unsafe { (&raw mut (*entry).sequence).write_volatile(tcp.sequence) };
        adds |= Flow::LIVE;
    }
    // A reset or FIN before the flow lives answers an older connection of the same tuple.
    if (flow.word | adds) & Flow::LIVE != 0 {
        if tcp.flags & Tcp::FIN != 0 {
            adds |= Flow::FIN;
        }
        if tcp.flags & Tcp::RST != 0 {
            adds |= Flow::RST;
        }
    }
    add_state(entry, flow.word, adds)
}

/// Whether a client's ACK takes the backend's SYN-ACK.
#[inline(always)]
fn takes_answer(flow: &Flow, tcp: &Tcp) -> bool {
    let Some(reply) = FLOWS.get_ptr(flow.opposite_key(Protocol::Tcp.number())) else {
        return false;
    };
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let (word, sequence) = unsafe {
        (
            (&raw const (*reply).word).read_volatile(),
            (&raw const (*reply).sequence).read_volatile(),
        )
    };
    Flow::cookie(word) == Flow::cookie(flow.word)
        && word & Flow::LIVE != 0
        && tcp.acknowledgment.wrapping_sub(sequence).wrapping_sub(1) < ACK_SLACK
}

/// Whether a client's SYN finds its old flow closed: then the connection is a new one, with a turn
/// of its own and never to a backend that drains. On any other flow the SYN is a repetition, or is
/// answered by the far end with a challenge (RFC 5961).
#[inline(always)]
fn begins_anew(flow: &Flow) -> bool {
    if flow.word & (Flow::LIVE | Flow::FIN | Flow::RST) == 0 {
        return false;
    }
    let Some(reply) = FLOWS.get_ptr(flow.opposite_key(Protocol::Tcp.number())) else {
        return true;
    };
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let reply_word = unsafe { (&raw const (*reply).word).read_volatile() };
    Flow::cookie(reply_word) != Flow::cookie(flow.word)
        || Phase::of(flow.word, reply_word) == Phase::Closed
}

/// An answer makes a UDP flow live, in both entries.
#[inline(always)]
fn advance_udp(entry: *mut Flow, flow: &Flow) -> Result<(), Verdict> {
    if flow.direction == Flow::FORWARD || flow.word & Flow::LIVE != 0 {
        return unchanged(entry, flow.word);
    }
    let forward = FLOWS
        .get_ptr_mut(flow.opposite_key(Protocol::Udp.number()))
        .ok_or(RACE)?;
    // SAFETY: from the lookup above; the cookie says whether it is still ours.
    let forward_word = unsafe { (&raw const (*forward).word).read_volatile() };
    if Flow::cookie(forward_word) != Flow::cookie(flow.word) {
        return Err(RACE);
    }
    add_state(forward, forward_word, Flow::LIVE)?;
    add_state(entry, flow.word, Flow::LIVE)
}

/// Counts the packet in its entry and notes the time.
#[inline(always)]
fn touch(entry: *mut Flow, bytes: u32) {
    // SAFETY: the helper takes nothing and cannot fail.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    // SAFETY: from a lookup of this program run. Plain writes: the counts of a flow that two CPUs
    // serve at once may lose one, which is documented, and no decision depends on them.
    unsafe {
        if (*entry).seen_ns != now {
            (*entry).seen_ns = now;
        }
        (*entry).packets += 1;
        (*entry).bytes += u64::from(bytes);
    }
}
