//! One instance behind one frontend, as long as it is behind it: what it carries, whether it is
//! gone, and whether new flows avoid it.
//!
//! What a flow meets here moves that flow alone, and is told as evidence. Whether others are to avoid
//! the backend is decided elsewhere (health::passive), for both engines.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
};

use super::counters::Counters;
use crate::model::Doubt;

/// Numbers of backends: none is used twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A backend; the same endpoint that comes back after it was gone is another one.
#[derive(Debug)]
pub(crate) struct Backend {
    /// Not 0.
    pub(crate) number: u64,
    pub(crate) address: SocketAddr,
    pub(crate) load: Counters,
    /// Its flows end now.
    is_gone: AtomicBool,
    /// Its probes fail while another backend is well: its datagrams go elsewhere.
    is_left: AtomicBool,
    /// Something was said against it since it last took a flow.
    is_doubted: AtomicBool,
    /// Why new flows avoid it; 0 = they do not.
    ejected: AtomicU8,
}

impl Backend {
    pub(super) fn new(address: SocketAddr, ejected: Option<Doubt>) -> Self {
        let backend = Self {
            number: NEXT.fetch_add(1, Relaxed),
            address,
            load: Counters::default(),
            is_gone: AtomicBool::new(false),
            is_left: AtomicBool::new(false),
            is_doubted: AtomicBool::new(false),
            ejected: AtomicU8::new(0),
        };
        backend.eject(ejected);
        backend
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }

    pub(super) fn go(&self) {
        self.is_gone.store(true, Relaxed);
    }

    /// Whether datagrams should look for another backend.
    pub(crate) fn is_left(&self) -> bool {
        self.is_left.load(Relaxed) || self.is_gone()
    }

    pub(super) fn leave(&self, is_left: bool) {
        self.is_left.store(is_left, Relaxed);
    }

    /// Whether new flows avoid it while another backend can take them.
    pub(crate) fn is_ejected(&self) -> bool {
        self.ejected.load(Relaxed) != 0
    }

    /// Why new flows avoid it, if they do.
    pub(crate) fn ejected(&self) -> Option<Doubt> {
        match self.ejected.load(Relaxed) {
            0 => None,
            1 => Some(Doubt::Refused),
            2 => Some(Doubt::Silent),
            3 => Some(Doubt::NoNeighbour),
            _ => Some(Doubt::Unreachable),
        }
    }

    /// Has new flows avoid it for this reason, or no longer.
    pub(super) fn eject(&self, doubt: Option<Doubt>) {
        let number = match doubt {
            None => 0,
            Some(Doubt::Refused) => 1,
            Some(Doubt::Silent) => 2,
            Some(Doubt::NoNeighbour) => 3,
            Some(Doubt::Unreachable) => 4,
        };
        self.ejected.store(number, Relaxed);
    }

    /// Notes that it has failed a flow.
    pub(crate) fn doubt(&self) {
        self.is_doubted.store(true, Relaxed);
    }

    /// Notes that it has taken a flow; whether something was said against it before.
    pub(crate) fn trust(&self) -> bool {
        self.is_doubted.load(Relaxed) && self.is_doubted.swap(false, Relaxed)
    }
}
