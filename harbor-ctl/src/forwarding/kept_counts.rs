//! Counters of ports that the kernel has given up: a port that changes its engine goes on counting.
//!
//! The kernel's counters end with its place for a port, the proxy's with the agent. What the kernel had
//! counted when it was looked at last, every second at least, is kept until the port is released.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::{FrontendReport, Protocol, Service};

type Key = (Protocol, u16);

/// What the kernel has counted, by port.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptCounts(Arc<Mutex<BTreeMap<Key, Counts>>>);

#[derive(Debug, Default)]
struct Counts {
    /// Of the place that the port has in the kernel.
    now: Option<FrontendReport>,
    /// Of the places that it had before.
    before: Option<FrontendReport>,
}

impl Counts {
    /// The port has lost its place.
    fn end(&mut self) {
        let Some(mut ended) = self.now.take() else {
            return;
        };
        // Flows end with their place, or live in the other engine.
        ended.flows = 0;
        match &mut self.before {
            Some(before) => before.add(&ended),
            None => self.before = Some(ended),
        }
    }
}

impl KeptCounts {
    /// Adds what was counted in places that are no more to a report of the kernel's.
    pub(crate) fn add_to_kernel(&self, report: &mut FrontendReport) {
        let mut all = self.all();
        let counts = all.entry((report.protocol, report.port)).or_default();
        let is_another = |now: &FrontendReport| now.flows_total > report.flows_total;
        if counts.now.as_ref().is_some_and(is_another) {
            counts.end();
        }
        counts.now = Some(report.clone());
        if let Some(before) = &counts.before {
            report.add(before);
        }
    }

    /// Adds what the kernel has counted to the report of a port that it does not have.
    pub(crate) fn add_to_proxy(&self, report: &mut FrontendReport) {
        if let Some(counts) = self.all().get_mut(&(report.protocol, report.port)) {
            counts.end();
            if let Some(before) = &counts.before {
                report.add(before);
            }
        }
    }

    /// A port is released: its number is somebody else's soon.
    pub(crate) fn forget(&self, service: &Service) {
        let mut all = self.all();
        for &protocol in service.protocols.each() {
            all.remove(&(protocol, service.port));
        }
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<Key, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Engine, Protocols, testing::service};

    fn report(engine: Engine, flows_total: u64) -> FrontendReport {
        FrontendReport {
            engine,
            gap: None,
            protocol: Protocol::Tcp,
            port: 35_000,
            flows: 1,
            flows_total,
            forward_packets: flows_total * 10,
            forward_bytes: 0,
            reply_packets: 0,
            reply_bytes: 0,
            refused: 0,
            backends_reachable: 1,
            kept: None,
        }
    }

    #[test]
    fn a_port_counts_on_through_every_change_of_its_engine_and_not_after_its_end() {
        let kept = KeptCounts::default();
        let kernel = |flows| {
            let mut report = report(Engine::Tc, flows);
            kept.add_to_kernel(&mut report);
            (report.flows, report.flows_total, report.forward_packets)
        };
        let proxy = |flows| {
            let mut report = report(Engine::Proxy, flows);
            kept.add_to_proxy(&mut report);
            (report.flows, report.flows_total, report.forward_packets)
        };
        assert_eq!(kernel(5), (1, 5, 50));
        assert_eq!(kernel(7), (1, 7, 70));
        assert_eq!(proxy(0), (1, 7, 70));
        assert_eq!(proxy(2), (1, 9, 90));
        // The proxy's own are added where engines are put together.
        assert_eq!(kernel(1), (1, 8, 80));
        assert_eq!(kernel(3), (1, 10, 100));
        assert_eq!(proxy(2), (1, 12, 120));
        kept.forget(&service("web", 35_000, Protocols::Tcp));
        assert_eq!(kernel(1), (1, 1, 10));
    }
}
