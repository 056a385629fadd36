//! The clock of all entries: `CLOCK_MONOTONIC_COARSE`, which costs next to nothing to read.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Nanoseconds; as coarse as the kernel's tick.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: the helper takes nothing and cannot fail.
    unsafe { bpf_ktime_get_coarse_ns() }
}
