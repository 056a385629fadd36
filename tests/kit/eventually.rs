//! Waiting for a condition instead of for a time: returns as soon as it holds, panics when the
//! deadline passes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to leave the condition alone between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// A deadline as this machine needs it: `HARBOR_PATIENCE` multiplies all of them where the processor is
/// emulated.
pub fn patient(deadline: Duration) -> Duration {
    let factor = std::env::var("HARBOR_PATIENCE").ok();
    deadline * factor.and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Waits until the condition holds; panics at the deadline.
#[track_caller]
pub fn eventually(deadline: Duration, mut condition: impl FnMut() -> bool) {
    until(deadline, || condition().then_some(()));
}

/// Waits until there is a value, and hands it on; panics at the deadline.
#[track_caller]
pub fn until<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let (begun, deadline) = (Instant::now(), patient(deadline));
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(
            begun.elapsed() < deadline,
            "the condition did not hold within {deadline:?}"
        );
        thread::sleep(PAUSE);
    }
}
