//! What a frontend or a backend carries and has carried: counters that all workers add to.
//!
//! Bytes are payload, exact; a datagram is a packet, and of a connection no packets are counted,
//! because a proxy sees a stream.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters of one frontend or one backend.
#[derive(Debug, Default)]
pub(super) struct Load {
    /// Flows now.
    pub(super) flows: AtomicU64,
    /// Flows begun.
    pub(super) flows_total: AtomicU64,
    pub(super) forward: Carried,
    pub(super) reply: Carried,
}

/// What went in one direction.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) packets: AtomicU64,
    pub(super) bytes: AtomicU64,
}

impl Carried {
    pub(super) fn stream(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(super) fn datagrams(&self, count: u64, bytes: u64) {
        self.packets.fetch_add(count, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }
}
