//! The kernel's monotonic clocks, by which flows, limits and promises are dated.

use rustix::time::{ClockId, clock_gettime};

const SECOND_NS: u64 = 1_000_000_000;

/// The clock of `seen_ns`.
pub(super) fn coarse_ns() -> u64 {
    ns(ClockId::MonotonicCoarse)
}

/// The same clock, to the nanosecond.
pub(super) fn monotonic_ns() -> u64 {
    ns(ClockId::Monotonic)
}

/// How long the machine runs, sleep included.
pub(crate) fn since_boot() -> std::time::Duration {
    std::time::Duration::from_nanos(ns(ClockId::Boottime))
}

/// Processor time that this thread has used.
pub(crate) fn thread_time() -> std::time::Duration {
    std::time::Duration::from_nanos(ns(ClockId::ThreadCPUTime))
}

/// Whether a moment of the monotonic clock is still to come.
pub(crate) fn is_ahead(ns: u64) -> bool {
    ns > monotonic_ns()
}

/// Seconds as the clocks count them.
pub(super) fn seconds_ns(seconds: u32) -> u64 {
    u64::from(seconds) * SECOND_NS
}

fn ns(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}
