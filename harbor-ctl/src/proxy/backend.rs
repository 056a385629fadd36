//! One instance behind one frontend, as long as it is behind it: what it carries, whether it is
//! gone, and whether it has failed flows lately.
//!
//! A backend that fails a new flow is left out for 2 s, twice as long with every failure in a row up
//! to a minute, if another can take the flow: the datapath's rule.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
};

use harbor_common::rules::backoff;

use super::load::Load;
use crate::model::Doubt;

/// Numbers of backends: none is used twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A backend; the same endpoint that comes back after it was gone is another one.
#[derive(Debug)]
pub(super) struct Backend {
    /// Not 0.
    pub(super) number: u64,
    pub(super) address: SocketAddr,
    pub(super) load: Load,
    /// Its flows end now.
    is_gone: AtomicBool,
    /// Its probes fail while another backend is well: its datagrams go elsewhere.
    is_left: AtomicBool,
    suspect_until: AtomicU64,
    failures: AtomicU32,
    doubt: AtomicU8,
}

impl Backend {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            number: NEXT.fetch_add(1, Relaxed),
            address,
            load: Load::default(),
            is_gone: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            suspect_until: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            doubt: AtomicU8::new(0),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    pub(super) fn go(&self) {
        self.is_gone.store(true, Relaxed);
    }

    /// Whether datagrams should look for another backend.
    pub(super) fn is_left(&self) -> bool {
        self.is_left.load(Relaxed) || self.is_gone()
    }

    pub(super) fn leave(&self, is_left: bool) {
        self.is_left.store(is_left, Relaxed);
    }

    pub(super) fn is_suspect(&self, now: u64) -> bool {
        self.suspect_until.load(Relaxed) > now
    }

    /// How it failed, while it is suspect.
    pub(super) fn doubt(&self, now: u64) -> Option<Doubt> {
        match self.doubt.load(Relaxed) {
            _ if !self.is_suspect(now) => None,
            1 => Some(Doubt::Refused),
            2 => Some(Doubt::Silent),
            _ => Some(Doubt::Unreachable),
        }
    }

    /// Notes that it has failed a flow; whether that is news.
    pub(super) fn suspect(&self, doubt: Doubt, now: u64) -> bool {
        if self.is_suspect(now) {
            return false;
        }
        let failures = self.failures.load(Relaxed);
        self.failures.store(backoff::next(failures), Relaxed);
        let number = match doubt {
            Doubt::Refused => 1,
            Doubt::Silent => 2,
            Doubt::Unreachable => 3,
        };
        self.doubt.store(number, Relaxed);
        let until = now + backoff::length_ns(failures);
        self.suspect_until.store(until, Relaxed);
        true
    }

    /// Notes that it has taken a flow.
    pub(super) fn trust(&self) {
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
            self.suspect_until.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::clock::SECOND;

    #[test]
    fn suspicion_doubles_up_to_a_minute_and_ends_with_the_first_success() {
        let backend = Backend::new(([10, 0, 0, 1], 80).into());
        let (mut now, mut lasted) = (1, Vec::new());
        for _ in 0..7 {
            assert!(backend.suspect(Doubt::Refused, now));
            assert!(!backend.suspect(Doubt::Silent, now), "known already");
            assert_eq!(backend.doubt(now), Some(Doubt::Refused));
            let until = backend.suspect_until.load(Relaxed);
            lasted.push((until - now) / SECOND);
            now = until;
            assert!(!backend.is_suspect(now));
        }
        assert_eq!(lasted, [2, 4, 8, 16, 32, 60, 60]);
        backend.suspect(Doubt::Silent, now);
        backend.trust();
        assert!(!backend.is_suspect(now));
        assert!(backend.suspect(Doubt::Silent, now));
        assert_eq!(backend.suspect_until.load(Relaxed), now + 2 * SECOND);
    }
}
