//! Reports of the forwarding thread: state, counters, flows.

use std::{collections::BTreeSet, net::IpAddr};

use super::{super::kernel::WhichBackends, Forwarder, taking_over::TakingOver};
use crate::{
    datapath::{self, Carrier, DatapathError, Hook},
    model::{BackendReport, DatapathReport, Engine, FrontendReport, Suspect},
    reconcile::{BackendKey, FrontendKey, Scope},
};

impl Forwarder {
    pub(super) fn frontends(&self, scope: &Scope) -> Result<Vec<FrontendReport>, DatapathError> {
        let (mut reports, served) = (Vec::new(), &self.mirror.actual.frontends);
        let all = match scope {
            Scope::Whole => {
                let slots = served
                    .values()
                    .map(|(frontend, _)| frontend.slot as usize + 1);
                self.counters.of_first_slots(slots.max().unwrap_or(0))?
            }
            Scope::Part(_) => Vec::new(),
        };
        for key in self.mirror.actual.frontends_within(scope) {
            let Some((frontend, sets)) = served.get(&key) else {
                continue;
            };
            let counts = match all.get(frontend.slot as usize) {
                Some(counts) => *counts,
                None => self.counters.of_slot(frontend.slot)?,
            };
            let counters = &counts.carried;
            let live = self.sweep.by_frontend.get(&frontend.slot);
            let takers: u32 = sets.iter().map(|set| set.count).sum();
            reports.push(FrontendReport {
                engine: match sets.iter().any(|set| set.handed != 0) {
                    true => Engine::ProxyForRoute,
                    false => self.kernel_engine(),
                },
                gap: self.ways.gap().map(str::to_owned),
                protocol: key.protocol,
                port: key.port,
                flows: live.map_or(0, |live| live.flows),
                flows_total: counters.flows,
                forward_packets: counters.forward_packets,
                forward_bytes: counters.forward_bytes,
                reply_packets: counters.reply_packets,
                reply_bytes: counters.reply_bytes,
                refused: counts.refused,
                backends_reachable: takers.saturating_sub(self.ejected_of(&key)),
                kept: live.map(|live| self.port_filled(&key, live.kept)),
            });
        }
        Ok(reports)
    }

    /// Totals are those of ended flows and of those that lived at the last sweep.
    pub(super) fn backends(
        &self,
        scope: &Scope,
        which: WhichBackends,
    ) -> Result<Vec<BackendReport>, DatapathError> {
        let mut reports = Vec::new();
        let avoided = match (which, scope) {
            (WhichBackends::Avoided, Scope::Whole) => Some(self.avoided_slots()?),
            _ => None,
        };
        for (key, (slot, row)) in self.mirror.actual.backends_within(scope) {
            if avoided.as_ref().is_some_and(|slots| !slots.contains(slot)) {
                continue;
            }
            let ended = self.counters.of_backend(*slot)?;
            let live = self.sweep.by_backend.get(&(*slot, row.generation));
            let live = live.copied().unwrap_or_default();
            let is_suspect =
                ended.generation == row.generation && datapath::is_ahead(ended.suspect_until_ns);
            let ejected = self.inputs.ejected.get(&Suspect {
                protocol: key.frontend.protocol,
                port: key.frontend.port,
                address: key.address,
            });
            let is_ejected = ejected.is_some();
            let doubt = ejected.copied().or(self.doubts.of(*slot, key.address));
            let handed = self.why_handed(key.address.ip());
            reports.push(BackendReport {
                engine: match handed {
                    Some(_) => Engine::ProxyForRoute,
                    None => self.kernel_engine(),
                },
                handed,
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
                is_ejected,
                is_unrouted: false,
                doubt: doubt.filter(|_| is_suspect || is_ejected),
            });
        }
        self.add_unrouted(&mut reports, scope);
        reports.retain(|report| which.means(report));
        Ok(reports)
    }

    /// Slots whose tenants new flows avoid, as far as either side knows: each is looked at again.
    fn avoided_slots(&self) -> Result<BTreeSet<u32>, DatapathError> {
        let backends = &self.mirror.actual.backends;
        let slots = backends.values().map(|(slot, _)| *slot as usize + 1);
        let mut avoided = self.counters.avoided(slots.max().unwrap_or(0))?;
        avoided.extend(self.inputs.ejected.keys().filter_map(|suspect| {
            let key = BackendKey {
                frontend: FrontendKey {
                    protocol: suspect.protocol,
                    port: suspect.port,
                },
                address: suspect.address,
            };
            backends.get(&key).map(|(slot, _)| *slot)
        }));
        Ok(avoided)
    }

    fn kernel_engine(&self) -> Engine {
        match self.xdp.is_on() && self.tracing.is_none() {
            true => Engine::Xdp,
            false => Engine::Tc,
        }
    }

    /// Why the programs do not send to a host, if they do not.
    fn why_handed(&self, host: IpAddr) -> Option<String> {
        let route = self
            .inputs
            .routes
            .get(&host)
            .filter(|route| route.is_handed)?;
        let Some(index) = self.ways.interface_towards(route.source, host) else {
            return Some(match self.ways.gap() {
                Some(gap) => gap.to_owned(),
                None => "the way to it is not known".into(),
            });
        };
        let mut interfaces = self.snapshot.interfaces.iter();
        let found = interfaces.find(|interface| interface.index == index);
        let name = found.map_or_else(|| index.to_string(), |found| found.name.clone());
        Some(format!(
            "its way leaves by {name}, which does not have the program"
        ))
    }

    pub(super) fn report(&self) -> Result<DatapathReport, DatapathError> {
        let mut report = datapath::status(&self.settings.bpf)?;
        report.xdp.clone_from(&self.xdp.reports);
        for link in report
            .links
            .iter_mut()
            .filter(|link| link.kind != Hook::Xdp.name())
        {
            let at = self.put_back.get(&link.ifindex);
            link.put_back_s = at.map(|at| at.elapsed().as_secs());
        }
        report.traced = self.tracing.is_some();
        report.problems.extend(self.problems.iter().cloned());
        report.problems.extend(self.no_ways.clone());
        let taking = self.taking_over.as_ref();
        report.problems.extend(taking.and_then(TakingOver::problem));
        report.problems.extend(self.carrier.as_ref().err().cloned());
        report.carried = self.carrier.as_ref().ok().map(Carrier::carried);
        report.filled = self.filled()?;
        report.problems.sort();
        report.problems.dedup();
        if report.state == "ok" && !report.problems.is_empty() {
            report.state = "degraded".into();
        }
        Ok(report)
    }
}
