//! What a frontend or a backend carries and has carried: counters that all workers add to.
//!
//! Bytes are payload, exact; a datagram is a packet, and of a connection no packets are counted,
//! because a proxy sees a stream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of one frontend or one backend.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Flows now.
    pub(crate) flows: AtomicU64,
    /// Flows begun.
    pub(crate) flows_total: AtomicU64,
    pub(crate) forward: Carried,
    pub(crate) reply: Carried,
}

/// What went in one direction.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    pub(crate) packets: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

impl Carried {
    pub(crate) fn stream(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn datagrams(&self, count: u64, bytes: u64) {
        self.packets.fetch_add(count, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
