//! Health as the controller keeps it: who is probed, what is in force, what the registry has of it.
//!
//! A judgement is in force first (kernel, then registry), other than every other change: a registry
//! that is slow or away must not keep clients with a dead backend. What is not recorded yet lies over
//! the records until it is.

mod check;
mod passive;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Controller, services::Services};
use crate::{
    health::{Change, Key, Summary, Target},
    model::{Backend, BackendState, Failing, HealthDefaults, HealthRule, Service, now},
    registry::{Registry, RegistryError},
    views::facts::HealthView,
};

pub(crate) use watch::run;

/// Recording pauses after this time, so that other changes have their turn.
const RECORD_SHARE: Duration = Duration::from_millis(200);
/// The registry must take a record within this time: nothing else changes meanwhile.
const RECORD_LIMIT: Duration = Duration::from_secs(1);
/// After a failure the registry is left alone for so long.
const RECORD_PAUSE: Duration = Duration::from_secs(5);

/// States of backends, by their service's id.
type States = BTreeMap<String, BTreeMap<SocketAddr, Option<Failing>>>;

/// What the controller knows of health.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// In force, and not in the registry yet.
    unrecorded: States,
    /// Why the registry has not taken them, and when that was.
    refused: Option<(String, Instant)>,
    /// As of the last look.
    pub(super) summary: Summary,
}

/// What the schedule has followed so far.
#[derive(Debug, Default)]
struct Seen {
    /// By the service's id; `None`: it is to be looked at again.
    revisions: HashMap<Arc<str>, Option<u64>>,
    defaults: Option<HealthDefaults>,
    /// Of the services.
    version: u64,
}

impl<R: Registry> Controller<R> {
    pub(crate) fn health_view(&self) -> HealthView {
        let refused = self.health.refused.as_ref();
        HealthView {
            summary: self.health.summary,
            not_recorded: refused.map(|(reason, _)| reason.clone()),
        }
    }

    /// What has changed since `seen`, by service, with what is to be probed of it now.
    fn changed(&self, seen: &mut Seen) -> Vec<(Arc<str>, Vec<Target>)> {
        let defaults = &self.running.config.health;
        if seen.defaults.as_ref() != Some(defaults) {
            seen.defaults = Some(defaults.clone());
            seen.revisions.values_mut().for_each(|seen| *seen = None);
        } else if seen.version == self.services.version() {
            return Vec::new();
        }
        seen.version = self.services.version();
        let mut changed = Vec::new();
        let mut gone = std::mem::take(&mut seen.revisions);
        for service in self.served_here() {
            let (id, known) = match gone.remove_entry(service.id.as_str()) {
                Some((id, known)) => (id, known),
                None => (service.id.as_str().into(), None),
            };
            if known != Some(service.revision) {
                changed.push((Arc::clone(&id), self.targets(&id, service)));
            }
            seen.revisions.insert(id, Some(service.revision));
        }
        changed.extend(gone.into_keys().map(|id| (id, Vec::new())));
        changed
    }

    /// Services that this node probes: others are probed by theirs, and by one node of a pool.
    fn served_here(&self) -> impl Iterator<Item = &Service> {
        self.services().filter(|service| self.keeps(service))
    }

    /// The service's backends that are to be probed.
    fn targets(&self, id: &Arc<str>, service: &Service) -> Vec<Target> {
        let Some(rule) = HealthRule::of(service, &self.running.config.health) else {
            return Vec::new();
        };
        let rule = Arc::new(rule);
        let target = |backend: &Backend| Target {
            key: Key {
                service: Arc::clone(id),
                address: backend.address,
            },
            rule: Arc::clone(&rule),
            is_failing: backend.failing.is_some(),
        };
        let there = service.backends.iter();
        let there = there.filter(|backend| backend.state != BackendState::Removed);
        there.map(target).collect()
    }

    /// Backends that are failing and that nobody probes any more: nothing would end their state.
    fn forgotten(&self) -> Vec<Change> {
        let is_probed =
            |service: &Service| HealthRule::of(service, &self.running.config.health).is_some();
        let services = self.served_here().filter(|service| !is_probed(service));
        let failing = services.flat_map(|service| {
            let backends = service.backends.iter().filter(|b| b.failing.is_some());
            backends.map(|backend| Change {
                key: Key {
                    service: service.id.as_str().into(),
                    address: backend.address,
                },
                failing: None,
            })
        });
        failing.collect()
    }

    /// Puts judgements in force, and on record as far as the registry takes them.
    pub(super) async fn judged(&mut self, changes: Vec<Change>) {
        let since = now();
        let mut judged: States = BTreeMap::new();
        for Change { key, failing } in changes {
            let failing = failing.map(|reason| Failing { since, reason });
            let of_service = judged.entry(key.service.to_string()).or_default();
            of_service.insert(key.address, failing);
        }
        let defaults = &self.running.config.health;
        let tell = |service: &Service, index| {
            tell(service, index, HealthRule::of(service, defaults).is_some());
        };
        lay_over(&mut self.services, &mut judged, tell);
        judged.keys().for_each(|id| self.pending.note(id));
        for (id, states) in judged {
            self.health.unrecorded.entry(id).or_default().extend(states);
        }
        self.apply_change().await;
        self.record_health().await;
    }

    /// Lays what is in force over records that were read anew.
    pub(super) fn keep_health(&mut self) {
        lay_over(&mut self.services, &mut self.health.unrecorded, |_, _| {});
    }

    /// Records what is in force; what is left over is tried again later.
    pub(super) async fn record_health(&mut self) {
        let is_paused = |(_, at): &(String, Instant)| at.elapsed() < RECORD_PAUSE;
        if self.health.refused.as_ref().is_some_and(is_paused) {
            return;
        }
        let begun = Instant::now();
        let ids: Vec<String> = self.health.unrecorded.keys().cloned().collect();
        for id in ids {
            if begun.elapsed() > RECORD_SHARE {
                return;
            }
            if let Err(reason) = self.record_service(&id).await {
                if self.health.refused.is_none() {
                    tracing::error!("states of backends are not recorded: {reason}");
                }
                self.health.refused = Some((reason, Instant::now()));
                return;
            }
            self.health.unrecorded.remove(&id);
        }
        self.health.refused = None;
    }

    /// One record, with all of the service's judgements.
    async fn record_service(&mut self, id: &str) -> Result<(), String> {
        let late = || format!("the registry did not answer within {RECORD_LIMIT:?}");
        for _ in 0..2 {
            let Some(service) = self.services.get(id) else {
                return Ok(());
            };
            let update = self.registry.update(service);
            let answer = tokio::time::timeout(RECORD_LIMIT, update).await;
            match answer.map_err(|_| late())? {
                Ok(recorded) => {
                    self.take_over(recorded);
                    return Ok(());
                }
                Err(RegistryError::Changed(_)) => {
                    let read = tokio::time::timeout(RECORD_LIMIT, self.look_again()).await;
                    read.map_err(|_| late())?.map_err(|e| e.description)?;
                }
                // Deleted by somebody who shares the registry.
                Err(RegistryError::NoService(_)) => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("others change this port all the time".into())
    }
}

/// Puts states in force; those of backends that are gone are forgotten.
fn lay_over(services: &mut Services, states: &mut States, tell: impl Fn(&Service, usize)) {
    states.retain(|id, of_service| {
        let Some(service) = services.get_mut(id) else {
            return false;
        };
        of_service.retain(|address, failing| {
            let place = service.backends.iter().position(|b| b.address == *address);
            if let Some(index) = place {
                service.backends[index].failing = failing.clone().map(Box::new);
                tell(service, index);
            }
            place.is_some()
        });
        !of_service.is_empty()
    });
}

/// Tells of a backend whose state is another one.
fn tell(service: &Service, index: usize, is_probed: bool) {
    let (Service { name, port, .. }, backend) = (service, &service.backends[index]);
    let (instance, address) = (&backend.instance, backend.address);
    match backend.failing.as_deref() {
        Some(Failing { reason, .. }) => {
            tracing::warn!(name, port, instance, %address, "backend is failing: {reason}");
        }
        None if is_probed => tracing::info!(name, port, instance, %address, "backend is up again"),
        None => tracing::info!(name, port, instance, %address, "backend is not probed any more"),
    }
}

#[cfg(test)]
mod tests;
