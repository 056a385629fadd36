//! The one place where events come from: what the agent knows is compared with what it has told.
//!
//! Services are compared before every change goes to the kernel, whoever has made it: an operator, a
//! platform, a probe, a lease, another node. The rest is told by those who find it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::{Controller, Pending, event_file::EventRecord, fullness::Fullness, services::Services};
use crate::{
    control::EventLog,
    model::{
        EventKind, Filled, Happening, HealthRule, NodeRecord, Service, Subject, service_events,
    },
    registry::Registry,
};

/// What flows through the proxy share, as events call it.
const DESCRIPTORS: &str = "descriptors of the proxy";

/// What has been told, and to whom.
#[derive(Debug)]
pub(crate) struct EventTracker {
    pub(crate) log: EventLog,
    services: BTreeMap<String, Arc<Service>>,
    /// Those that share the registry, as it was asked last.
    pub(crate) nodes: Option<Vec<NodeRecord>>,
    trouble: Option<EventKind>,
    /// How many times the registry has failed of which it was told.
    lapses: u64,
    fullness: Fullness,
}

impl EventTracker {
    /// What is there at the start is no news.
    pub(super) fn new(services: &Services) -> Self {
        let known = services.iter().map(|s| (s.id.clone(), Arc::clone(s)));
        Self {
            log: EventLog::new(),
            services: known.collect(),
            nodes: None,
            trouble: None,
            lapses: 0,
            fullness: Fullness::default(),
        }
    }
}

/// A backend that nobody probes has not recovered: how it is, nobody knows.
fn asked(happening: Happening, is_probed: bool) -> Happening {
    if is_probed || happening.kind != EventKind::BackendRecovered {
        return happening;
    }
    let address = happening.subject.address.clone().unwrap_or_default();
    let text = format!("backend {address} is no longer known to fail: it is not probed any more");
    Happening::new(EventKind::BackendUnknown, happening.subject, text)
}

impl<R: Registry> Controller<R> {
    /// Goes on with the record of events where an earlier agent has left it, and says that one starts.
    pub(crate) fn begin_events(&self) {
        let (record, earlier) = EventRecord::open(&self.running.config.paths.state);
        let is_cut_off = earlier
            .last()
            .is_some_and(|last| last.kind != EventKind::AgentStopped);
        let before = match is_cut_off {
            true => "; the one before has ended without a word",
            false => "",
        };
        self.told.log.go_on(earlier, Box::new(record));
        let (version, pid) = (env!("CARGO_PKG_VERSION"), std::process::id());
        let text = format!("the agent starts: {version}, pid {pid}{before}");
        self.tell(EventKind::AgentStarted, Subject::default(), text);
        if let Some(mended) = self.registry.condition().mended {
            let text = format!("{}: {mended}", self.registry.describe());
            self.tell(EventKind::RegistryBack, Subject::default(), text);
        }
    }

    /// Tells what has become of services since it was told last.
    pub(super) fn tell_changes(&mut self) {
        let ids: BTreeSet<String> = match &self.pending {
            Pending::These(ids) => ids.clone(),
            Pending::All => {
                let known = self.told.services.keys().cloned();
                known
                    .chain(self.services.iter().map(|s| s.id.clone()))
                    .collect()
            }
        };
        for id in &ids {
            let (before, after) = (self.told.services.get(id), self.services.get(id));
            if before == after {
                continue;
            }
            let is_probed = after.is_some_and(|service| {
                HealthRule::of(service, &self.running.config.health).is_some()
            });
            for happening in service_events(before.map(|s| &**s), after.map(|s| &**s)) {
                self.told.log.tell(asked(happening, is_probed));
            }
            if let (Some(released), None) = (before, after) {
                self.engines.kept_counts.forget(released);
            }
            match after {
                Some(service) => self.told.services.insert(id.clone(), Arc::clone(service)),
                None => self.told.services.remove(id),
            };
        }
    }

    /// Tells of something that is no service's.
    pub(super) fn tell(&self, kind: EventKind, subject: Subject, text: impl Into<String>) {
        self.told.log.tell(Happening::new(kind, subject, text));
    }

    /// Tells whether the registry answers, when that is another than before.
    pub(super) fn tell_registry(&mut self) {
        let (condition, place) = (self.registry.condition(), self.registry.describe());
        let trouble = match (&condition.failed, &condition.emptied, &condition.away) {
            (Some(failed), ..) => Some((EventKind::RegistryFailed, failed.reason.clone())),
            (_, Some(emptied), _) => Some((EventKind::RegistryFailed, emptied.to_string())),
            _ if condition.is_fenced => {
                let text = format!("{place}: another agent has taken this node over");
                Some((EventKind::RegistryFailed, text))
            }
            (.., Some(_)) => Some((EventKind::RegistryAway, format!("{place} does not answer"))),
            (None, None, None) => None,
        };
        let now = trouble.as_ref().map(|(kind, _)| *kind);
        let (before, lapses) = (self.told.trouble, &condition.lapses);
        let is_over = std::mem::replace(&mut self.told.lapses, lapses.count) < lapses.count;
        if is_over && now.is_none() && before.is_none() {
            // It failed and works again, and nobody has looked meanwhile.
            let kind = match R::IS_SHARED {
                true => EventKind::RegistryAway,
                false => EventKind::RegistryFailed,
            };
            let text = format!("briefly, and it works again: {}", lapses.reason);
            self.tell(kind, Subject::default(), text);
            let text = format!("{place} answers again");
            self.tell(EventKind::RegistryBack, Subject::default(), text);
        }
        if now == std::mem::replace(&mut self.told.trouble, now) {
            return;
        }
        let is_back = || (EventKind::RegistryBack, format!("{place} answers again"));
        let (kind, text) = trouble.unwrap_or_else(is_back);
        self.tell(kind, Subject::default(), text);
    }

    /// Tells what of the proxy is full since it was told last, and what is no longer.
    pub(super) fn tell_full_proxy(&mut self) {
        let full = self.engines.proxy.report().shares.full;
        self.tell_full(DESCRIPTORS, &full);
    }

    /// The same of something else that is shared, which is called `scarce`.
    pub(super) fn tell_full(&mut self, scarce: &str, full: &[Filled]) {
        let fullness = &mut self.told.fullness;
        for happening in fullness.compare(scarce, full, Instant::now()) {
            self.told.log.tell(happening);
        }
    }

    /// Tells which nodes share the registry, when those are others than before.
    pub(super) async fn tell_nodes(&mut self) {
        if !R::IS_SHARED || self.registry.condition().away.is_some() {
            return;
        }
        let Ok(records) = self.registry.nodes().await else {
            return;
        };
        let ids = |records: &[NodeRecord]| -> BTreeSet<String> {
            records.iter().map(|record| record.id.clone()).collect()
        };
        let now = ids(&records);
        // The nodes that there are at the start are no news.
        let before = self.told.nodes.replace(records);
        let before = before.map_or_else(|| now.clone(), |before| ids(&before));
        for (kind, ids, what) in [
            (EventKind::NodeJoined, now.difference(&before), "shares"),
            (
                EventKind::NodeLeft,
                before.difference(&now),
                "no longer shares",
            ),
        ] {
            for id in ids {
                let subject = Subject {
                    node: Some(id.clone()),
                    ..Subject::default()
                };
                self.tell(kind, subject, format!("node {id} {what} the registry"));
            }
        }
    }
}
