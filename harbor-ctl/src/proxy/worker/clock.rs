//! The proxy's time: the kernel's monotonic clock in nanoseconds, which no operator can set.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Nanoseconds since some moment before the proxy began.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * SECOND + now.tv_nsec.unsigned_abs()
}

/// A time span as the proxy's clock counts it.
pub(super) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
