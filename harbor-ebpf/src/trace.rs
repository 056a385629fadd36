//! Tells whoever traces of packets: what came in, what left, and the verdict between.
//!
//! Only the load that traces holds any of this; the verifier takes it out of every other one.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, generated::bpf_skb_load_bytes},
};
use harbor_common::{trace::Traced, verdict::Verdict};

use crate::{
    bound::masked,
    config,
    maps::{TRACED, TRACES},
};

/// Keeps the packet as it came in, if it is one of those that are told.
#[inline(always)]
pub fn arriving(skb: *mut __sk_buff) {
    if config::traced_one_in() != 0 {
        keep(skb);
    }
}

/// Tells of the packet, with its verdict. A full ring loses it.
#[inline(always)]
pub fn leaving(skb: *mut __sk_buff, verdict: Verdict) {
    if config::traced_one_in() != 0
        && (!config::is_drops_alone() || matches!(verdict, Verdict::Drop(_)))
    {
        tell(skb, verdict.number());
    }
}

/// A function of its own, as [`tell`]: Linux 6.1 has no room for its stack beside that of the path.
#[inline(never)]
fn keep(skb: *mut __sk_buff) {
    let one_in = config::traced_one_in();
    let Some(traced) = TRACED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's own element, which one run of the program at a time holds.
    let traced = unsafe { &mut *traced };
    traced.length = 0;
    // SAFETY: no preconditions.
    if one_in > 1 && unsafe { bpf_get_prandom_u32() } % one_in != 0 {
        return;
    }
    // SAFETY: context fields; the verifier checks the access.
    let (length, ifindex) = unsafe { ((*skb).len, (*skb).ifindex) };
    if load(skb, length, &mut traced.arriving) {
        (traced.length, traced.ifindex) = (length, ifindex);
    }
}

#[inline(never)]
fn tell(skb: *mut __sk_buff, verdict: u32) {
    let Some(traced) = TRACED.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: as above.
    let traced = unsafe { &mut *traced };
    if traced.length == 0 {
        return;
    }
    // SAFETY: a context field; the verifier checks the access.
    let length = unsafe { (*skb).len };
    if !load(skb, length, &mut traced.leaving) {
        return;
    }
    traced.leaving_length = length;
    traced.verdict = verdict;
    // SAFETY: no preconditions.
    traced.at_ns = unsafe { bpf_ktime_get_ns() };
    // Whoever reads looks again by itself.
    let _ = TRACES.output(&*traced, u64::from(BPF_RB_NO_WAKEUP));
}

/// Copies the first octets of a packet of this length.
#[inline(always)]
fn load(skb: *mut __sk_buff, length: u32, into: &mut [u8; Traced::OCTETS]) -> bool {
    let most = Traced::OCTETS as u32;
    let wanted = if length > most { most } else { length };
    // In a form that bounds it for the verifier.
    let last = masked::<{ Traced::OCTETS - 1 }>(wanted.wrapping_sub(1) as usize);
    // SAFETY: `skb` is the program's context; the array holds as much.
    unsafe { bpf_skb_load_bytes(skb.cast(), 0, into.as_mut_ptr().cast(), last as u32 + 1) == 0 }
}
