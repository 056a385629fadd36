//! Tells whoever traces of packets: what came in, what left, and the verdict between.
//!
//! Only the load that traces holds any of this; the verifier takes it out of every other one. A processor
//! tells of so many packets a period and counts the others, so that a trace costs no more than that however
//! many come; packets that the filter surely does not mean are not counted.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_prandom_u32, bpf_ktime_get_ns,
        generated::{bpf_jiffies64, bpf_skb_load_bytes},
    },
};
use harbor_common::{
    trace::{Trace, Traced},
    verdict::Verdict,
};

use crate::{
    bound::masked,
    clock,
    code::Code,
    config, ends,
    maps::{TRACE, TRACES},
};

/// In the octets of a packet that are free for programs of the hook: whether it was kept. Calls are dear
/// where returns are guarded against speculation, and of most packets this one look suffices.
const KEPT: usize = 4;

/// Keeps the packet as it came in, if it is one of those that are told.
#[inline(always)]
pub fn arriving(skb: *mut __sk_buff) {
    if config::traced_one_in() != 0 {
        keep(skb);
    }
}

/// Tells of the packet, with its verdict.
#[inline(always)]
pub fn leaving(skb: *mut __sk_buff, verdict: Verdict) {
    // SAFETY: a context field; the verifier checks the access.
    if config::traced_one_in() != 0 && unsafe { (*skb).cb[KEPT] } != 0 {
        tell(skb, Code::of(verdict));
    }
}

/// A function of its own, as [`tell`]: Linux 6.1 has no room for its stack beside that of the path.
#[inline(never)]
fn keep(skb: *mut __sk_buff) {
    let one_in = config::traced_one_in();
    // SAFETY: a context field; the verifier checks the access.
    unsafe { (*skb).cb[KEPT] = 0 };
    let Some(trace) = TRACE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own element, which one run of the program at a time holds.
    let trace = unsafe { &mut *trace };
    // SAFETY: no preconditions.
    if one_in > 1 && unsafe { bpf_get_prandom_u32() } % one_in != 0 {
        return;
    }
    // Where a filter may not mean it, the packet has to be looked at before it counts.
    let is_surely_meant = config::is_every_verdict_traced() && ends::is_every_one_traced();
    if trace.left == 0 && !fill(trace) && is_surely_meant {
        trace.missed += 1;
        return;
    }
    let packet = &mut trace.packet;
    packet.steps = 0;
    // SAFETY: context fields; the verifier checks the access.
    let (length, ifindex) = unsafe { ((*skb).len, (*skb).ifindex) };
    if load(skb, &mut packet.octets, (0, kept(length))) && ends::may_be_meant(&packet.octets) {
        (packet.length, packet.ifindex) = (length, ifindex);
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (*skb).cb[KEPT] = 1 };
    }
}

/// Whether more may be told, because another period has come. The clock is asked once a tick.
#[inline(always)]
fn fill(trace: &mut Trace) -> bool {
    // SAFETY: no preconditions. Not a call: the kernel puts a load in its place.
    let tick = unsafe { bpf_jiffies64() };
    if trace.tick == tick {
        return false;
    }
    trace.tick = tick;
    let period = clock::now_ns() >> Trace::PERIOD_BITS;
    if trace.period == period {
        return false;
    }
    (trace.period, trace.left) = (period, config::trace_budget());
    true
}

#[inline(never)]
fn tell(skb: *mut __sk_buff, code: Code) {
    let Some(trace) = TRACE.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    let trace = unsafe { &mut *trace };
    let packet = &mut trace.packet;
    let verdict = code.verdict();
    if !config::is_traced_verdict(verdict.number()) {
        return;
    }
    // SAFETY: a context field; the verifier checks the access.
    let length = unsafe { (*skb).len };
    let (arriving, leaving) = (kept(packet.length), kept(length));
    if !load(skb, &mut packet.octets, (arriving, leaving))
        || !ends::is_meant(&packet.octets, arriving)
    {
        return;
    }
    if trace.left == 0 {
        trace.missed += 1;
        return;
    }
    packet.leaving_length = length;
    packet.verdict = verdict.number();
    packet.leaves_by = match verdict {
        Verdict::Forward(ifindex) | Verdict::Resolve(ifindex) => ifindex,
        _ => 0,
    };
    // SAFETY: no preconditions.
    packet.at_ns = unsafe { bpf_ktime_get_ns() };
    let told = core::ptr::from_ref(packet).cast::<u8>();
    // Most packets are short, and each line of the ring that is written has to be fetched first.
    // SAFETY: it is as long as that, and more.
    let told = unsafe { core::slice::from_raw_parts(told, Traced::HEAD + arriving + leaving) };
    // Whoever reads looks again by itself.
    let is_told = TRACES.output_untyped::<[u8]>(told, u64::from(BPF_RB_NO_WAKEUP));
    if is_told.is_ok() {
        trace.left -= 1;
    } else {
        // Full: for the rest of the period nothing more is tried.
        trace.left = 0;
        trace.missed += 1;
    }
}

/// How many octets are kept of a packet of this length, in a form that bounds it for the verifier.
#[inline(always)]
fn kept(length: u32) -> usize {
    let most = Traced::OCTETS as u32;
    let wanted = if length > most { most } else { length };
    masked::<{ Traced::OCTETS - 1 }>(wanted.wrapping_sub(1) as usize) + 1
}

/// Copies so many of the first octets of a packet to this place.
#[inline(always)]
fn load(
    skb: *mut __sk_buff,
    into: &mut [u8; 2 * Traced::OCTETS],
    (at, octets): (usize, usize),
) -> bool {
    // SAFETY: `skb` is the program's context; both ends of what is copied are inside the array.
    unsafe {
        let to = into.as_mut_ptr().add(at);
        bpf_skb_load_bytes(skb.cast(), 0, to.cast(), octets as u32) == 0
    }
}
