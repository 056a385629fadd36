//! What the forwarding thread says of what it keeps.

use super::Forwarder;
use crate::{
    datapath::{self, Carrier, DatapathError},
    model::{BackendReport, DatapathReport, Engine, FrontendReport},
    reconcile::Scope,
};

impl Forwarder {
    pub(super) fn frontends(&self, scope: &Scope) -> Result<Vec<FrontendReport>, DatapathError> {
        let (mut reports, served) = (Vec::new(), &self.books.actual.frontends);
        let all = match scope {
            Scope::Whole => {
                let slots = served
                    .values()
                    .map(|(frontend, _)| frontend.slot as usize + 1);
                self.counters.of_first_slots(slots.max().unwrap_or(0))?
            }
            Scope::Part(_) => Vec::new(),
        };
        for key in self.books.actual.frontends_within(scope) {
            let Some((frontend, sets)) = served.get(&key) else {
                continue;
            };
            let counts = match all.get(frontend.slot as usize) {
                Some(counts) => *counts,
                None => self.counters.of_slot(frontend.slot)?,
            };
            let counters = &counts.carried;
            let live = self.sweep.by_frontend.get(&frontend.slot);
            reports.push(FrontendReport {
                engine: Engine::Tc,
                protocol: key.protocol,
                port: key.port,
                flows: live.map_or(0, |live| live.flows),
                flows_total: counters.flows,
                forward_packets: counters.forward_packets,
                forward_bytes: counters.forward_bytes,
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
                refused: counts.refused,
                backends_reachable: sets.iter().map(|set| set.count).sum(),
            });
        }
        Ok(reports)
    }

    /// Totals are those of ended flows and of those that lived at the last sweep.
    pub(super) fn backends(&self, scope: &Scope) -> Result<Vec<BackendReport>, DatapathError> {
        let mut reports = Vec::new();
        for (key, (slot, row)) in self.books.actual.backends_within(scope) {
            let ended = self.counters.of_backend(*slot)?;
            let live = self.sweep.by_backend.get(&(*slot, row.generation));
            let live = live.copied().unwrap_or_default();
            let is_suspect =
                ended.generation == row.generation && datapath::is_ahead(ended.suspect_until_ns);
            let doubt = self.doubts.of(*slot, key.address);
            reports.push(BackendReport {
                protocol: key.frontend.protocol,
                port: key.frontend.port,
                address: key.address,
                flows: live.flows,
                flows_total: ended.ended + live.flows,
                forward_packets: ended.forward_packets + live.forward_packets,
                forward_bytes: ended.forward_bytes + live.forward_bytes,
                reply_packets: ended.reply_packets + live.reply_packets,
                reply_bytes: ended.reply_bytes + live.reply_bytes,
                is_suspect,
                doubt: doubt.filter(|_| is_suspect),
            });
        }
        Ok(reports)
    }

    pub(super) fn report(&self) -> Result<DatapathReport, DatapathError> {
        let mut report = datapath::status(&self.settings.bpf)?;
        report.problems.extend(self.problems.iter().cloned());
        report.problems.extend(self.no_ways.clone());
        report.problems.extend(self.carrier.as_ref().err().cloned());
        report.carried = self.carrier.as_ref().ok().map(Carrier::carried);
        report.problems.sort();
        report.problems.dedup();
        if report.state == "ok" && !report.problems.is_empty() {
            report.state = "degraded".into();
        }
        Ok(report)
    }
}
