//! Who is probed, when, and what has changed. Pure: the time comes in as an argument.
//!
//! A backend begins with the state that is recorded, so a restart forgets nothing, and is asked as
//! soon as the rate allows. Between two probes of it lies the interval, give or take a tenth, so
//! that probes of many backends do not march in step.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    isolation::{Isolation, Silence},
    judge::{Fault, FaultKind, Judge, Outcome, Thresholds},
};
use crate::model::HealthRule;

/// Probes under way at once.
const CONCURRENT: usize = 512;
/// Probes that may begin together, as a part of a second's.
const BURST: f64 = 0.25;

/// One backend of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// The service's id.
    pub(crate) service: Arc<str>,
    pub(crate) address: SocketAddr,
}

/// A backend that is to be probed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) key: Key,
    pub(crate) rule: Arc<HealthRule>,
    /// As it is recorded.
    pub(crate) is_failing: bool,
}

/// A backend whose state is another one from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) key: Key,
    /// Why it is failing; `None`: it is up.
    pub(crate) failing: Option<String>,
}

/// Numbers for `status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) backends: usize,
    pub(crate) services: usize,
    pub(crate) failing: usize,
    /// Silent backends and those they are among, while the brake is on.
    pub(crate) braked: Option<(usize, usize)>,
    /// How long the backend that waits longest has been due.
    pub(crate) late: Duration,
}

#[derive(Debug)]
struct Patient {
    rule: Arc<HealthRule>,
    judge: Judge,
    due: Instant,
    /// A probe is under way.
    is_out: bool,
}

/// Every backend that is probed.
#[derive(Debug)]
pub(crate) struct Schedule {
    patients: BTreeMap<Key, Patient>,
    /// Those without a probe under way.
    due: BTreeSet<(Instant, Key)>,
    services: BTreeSet<Arc<str>>,
    out: usize,
    brake: Isolation,
    /// How many probes may begin now.
    budget: f64,
    filled_at: Instant,
}

impl Schedule {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            patients: BTreeMap::new(),
            due: BTreeSet::new(),
            services: BTreeSet::new(),
            out: 0,
            brake: Isolation::default(),
            budget: 1.0,
            filled_at: now,
        }
    }

    /// Takes over who is to be probed of a service, none of them if it is gone; who is known and has
    /// not changed goes on as before.
    pub(crate) fn follow(&mut self, service: &Arc<str>, targets: Vec<Target>, now: Instant) {
        let is_wanted = |key: &Key| targets.iter().any(|target| target.key == *key);
        let strangers: Vec<Key> = self
            .of(service)
            .filter(|k| !is_wanted(k))
            .cloned()
            .collect();
        strangers.iter().for_each(|key| self.dismiss(key));
        match targets.is_empty() {
            true => {
                self.services.remove(service);
                self.brake.forget(service);
            }
            false => {
                self.services.insert(Arc::clone(service));
            }
        }
        for Target {
            key,
            rule,
            is_failing,
        } in targets
        {
            let is_known = self.patients.get(&key).is_some_and(|patient| {
                *patient.rule == *rule && patient.judge.is_failing == is_failing
            });
            if !is_known {
                self.dismiss(&key);
                self.admit(key, rule, is_failing, now);
            }
        }
    }

    /// The backends of a service.
    fn of(&self, service: &Arc<str>) -> impl Iterator<Item = &Key> {
        let first = Key {
            service: Arc::clone(service),
            address: (Ipv4Addr::UNSPECIFIED, 0).into(),
        };
        let from = self.patients.range(first..).map(|(key, _)| key);
        from.take_while(move |key| key.service == *service)
    }

    fn admit(&mut self, key: Key, rule: Arc<HealthRule>, is_failing: bool, now: Instant) {
        let judge = Judge::new(is_failing);
        self.brake.add(&key.service, judge.standing());
        self.due.insert((now, key.clone()));
        let patient = Patient {
            rule,
            judge,
            due: now,
            is_out: false,
        };
        self.patients.insert(key, patient);
    }

    fn dismiss(&mut self, key: &Key) {
        if let Some(patient) = self.patients.remove(key) {
            self.brake.remove(&key.service, patient.judge.standing());
            self.due.remove(&(patient.due, key.clone()));
            self.out -= usize::from(patient.is_out);
        }
    }

    /// The probes to begin now, at most so many a second.
    pub(crate) fn begin(&mut self, rate: u32, now: Instant) -> Vec<(Key, Arc<HealthRule>)> {
        let rate = f64::from(rate);
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.budget = (self.budget + elapsed * rate).min((rate * BURST).max(1.0));
        let mut begun = Vec::new();
        while self.budget >= 1.0 && self.out < CONCURRENT {
            let Some(first) = self.due.first().filter(|(due, _)| *due <= now).cloned() else {
                break;
            };
            self.due.remove(&first);
            let key = first.1;
            if let Some(patient) = self.patients.get_mut(&key) {
                patient.is_out = true;
                self.out += 1;
                self.budget -= 1.0;
                begun.push((key, Arc::clone(&patient.rule)));
            }
        }
        begun
    }

    /// Takes in the result of a probe that began at `begun`; `jitter` is from 0 to 1.
    pub(crate) fn note(
        &mut self,
        (key, rule): (&Key, &Arc<HealthRule>),
        sight: &Result<(), Fault>,
        (begun, now): (Instant, Instant),
        jitter: f64,
    ) -> Option<Change> {
        let patient = self.patients.get_mut(key)?;
        // Another backend at the address, or another rule: this answer is not to its question.
        if !patient.is_out || !Arc::ptr_eq(&patient.rule, rule) {
            return None;
        }
        patient.is_out = false;
        self.out -= 1;
        patient.due = begun + patient.rule.interval.mul_f64(0.9 + 0.2 * jitter);
        self.due.insert((patient.due, key.clone()));
        self.see(key, sight, (begun, now))
    }

    /// Asks a backend at once that would be asked later.
    pub(crate) fn hurry(&mut self, key: &Key, now: Instant) {
        if let Some(patient) = self.patients.get_mut(key)
            && !patient.is_out
            && patient.due > now
        {
            self.due.remove(&(patient.due, key.clone()));
            patient.due = now;
            self.due.insert((now, key.clone()));
        }
    }

    fn see(
        &mut self,
        key: &Key,
        sight: &Result<(), Fault>,
        (begun, now): (Instant, Instant),
    ) -> Option<Change> {
        let Patient { judge, rule, .. } = self.patients.get_mut(key)?;
        let limits = Thresholds {
            rise: rule.rise,
            fall: rule.fall,
        };
        let service = &key.service;
        let was_on = self.brake.is_on().is_some();
        self.brake.remove(service, judge.standing());
        let failed_before = judge.hear(sight, now);
        self.brake.add(service, judge.standing());
        self.brake.look(was_on, now);
        if sight.is_ok() {
            self.brake.passed(service, now);
        }
        let is_silent = matches!(sight, Err(fault) if fault.kind == FaultKind::Silent);
        if is_silent {
            match self.brake.silence(service, failed_before, begun) {
                Silence::Counts => {}
                Silence::SaysNothing => return None,
                Silence::Clears => {
                    judge.forgive();
                    return None;
                }
            }
        }
        self.brake.remove(service, judge.standing());
        let outcome = judge.weigh(sight, limits);
        self.brake.add(service, judge.standing());
        let failing = match (outcome, sight) {
            (Outcome::Rises, _) => None,
            (Outcome::Falls, Err(fault)) => Some(fault.reason.clone()),
            _ => return None,
        };
        Some(Change {
            key: key.clone(),
            failing,
        })
    }

    pub(crate) fn summary(&self, now: Instant) -> Summary {
        let late = self
            .due
            .first()
            .map(|(due, _)| now.saturating_duration_since(*due));
        Summary {
            backends: self.patients.len(),
            services: self.services.len(),
            failing: self.brake.failing(),
            braked: self.brake.is_on(),
            late: late.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests;
