//! What ports carry, from two looks at their counters.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use crate::model::{FrontendReport, Protocol, Service, Throughput};

/// Something of each frontend, for many readers.
type Shared<T> = Arc<BTreeMap<(Protocol, u16), T>>;

/// What each frontend carries: flows, and bits per second from clients and to them from the last two
/// looks at its counters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    last: Shared<([u64; 2], Instant)>,
    carried: Shared<Throughput>,
    /// The engines did not answer when they were asked last.
    are_unknown: bool,
}

impl Rates {
    pub(crate) fn update(&mut self, reports: &[FrontendReport], now: Instant) {
        let (mut last, mut carried) = (BTreeMap::new(), BTreeMap::new());
        for report in reports {
            let key = (report.protocol, report.port);
            let bytes = [report.forward_bytes, report.reply_bytes];
            let mut own = Throughput {
                flows: report.flows,
                ..Throughput::default()
            };
            if let Some((before, then)) = self.last.get(&key) {
                let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
                let rate = |way: usize| {
                    let bits = bytes[way].saturating_sub(before[way]) as f64 * 8.0 / seconds;
                    bits as u64
                };
                (own.in_bps, own.out_bps) = (rate(0), rate(1));
            }
            carried.insert(key, own);
            last.insert(key, (bytes, now));
        }
        self.last = Arc::new(last);
        self.carried = Arc::new(carried);
        self.are_unknown = false;
    }

    /// Nobody has answered: what was carried last says nothing of now.
    pub(crate) fn forget(&mut self) {
        self.are_unknown = true;
    }

    /// Of all of the service's protocols, if it is known.
    pub(crate) fn of(&self, service: &Service) -> Option<Throughput> {
        let each = service.protocols.each().iter();
        let own = each.filter_map(|&protocol| self.carried.get(&(protocol, service.port)));
        let sum = own.fold(Throughput::default(), |sum, own| sum.plus(*own));
        (!self.are_unknown).then_some(sum)
    }
}
