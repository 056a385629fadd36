//! The proxy's timeouts in nanoseconds; they can be changed while it runs.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::clock::nanoseconds;
use crate::proxy::settings::ProxySettings;

/// Read by every worker, for each flow that it judges.
#[derive(Debug)]
pub(crate) struct Patience {
    tcp_established: AtomicU64,
    udp_single: AtomicU64,
    udp_stream: AtomicU64,
    connect: AtomicU64,
    give_up: AtomicU64,
    half_closed: AtomicU64,
}

impl Patience {
    pub(super) fn new(settings: &ProxySettings) -> Self {
        let patience = Self {
            tcp_established: AtomicU64::new(0),
            udp_single: AtomicU64::new(0),
            udp_stream: AtomicU64::new(0),
            connect: AtomicU64::new(0),
            give_up: AtomicU64::new(0),
            half_closed: AtomicU64::new(0),
        };
        patience.set(settings);
        patience
    }

    pub(crate) fn set(&self, settings: &ProxySettings) {
        let timeouts = &settings.timeouts;
        let put = |place: &AtomicU64, span: Duration| place.store(nanoseconds(span), Relaxed);
        put(&self.tcp_established, timeouts.tcp_established);
        put(&self.udp_single, timeouts.udp_single);
        put(&self.udp_stream, timeouts.udp_stream);
        put(&self.connect, settings.connect_timeout);
        put(&self.half_closed, settings.half_closed);
        // Nobody is given up who has not had the time that is promised to each.
        put(
            &self.give_up,
            settings.give_up.max(settings.connect_timeout),
        );
    }

    /// Silence that ends a TCP connection.
    pub(crate) fn tcp_established(&self) -> u64 {
        self.tcp_established.load(Relaxed)
    }

    /// Silence that ends a UDP question with its answer.
    pub(crate) fn udp_single(&self) -> u64 {
        self.udp_single.load(Relaxed)
    }

    /// Silence that ends a UDP conversation.
    pub(crate) fn udp_stream(&self) -> u64 {
        self.udp_stream.load(Relaxed)
    }

    /// How long a backend may take to accept a connection before another is tried as well.
    pub(crate) fn connect(&self) -> u64 {
        self.connect.load(Relaxed)
    }

    /// Silence that ends a connection of which one side has ended.
    pub(crate) fn half_closed(&self) -> u64 {
        self.half_closed.load(Relaxed)
    }

    /// How long all of them together may take.
    pub(crate) fn give_up(&self) -> u64 {
        self.give_up.load(Relaxed)
    }
}
