//! Tells dead backends from a node that is cut off. Pure.
//!
//! When most backends of several services fall silent at once, the likely cause is here. Silence then
//! counts against nobody, unless another backend of the service has answered meanwhile: that proves
//! that the node reaches the service. A refusal or a wrong answer proves as much, so the brake
//! concerns silence alone. What was asked while the brake was on is judged as if it still were.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use super::judge::Standing;

/// Silence of fewer services is theirs.
const SERVICES: usize = 3;

/// What a backend's silence means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// It counts against the backend.
    Counts,
    /// It says nothing.
    SaysNothing,
    /// Nor does what was counted before: the whole service is silent.
    Clears,
}

/// Counts who is silent.
#[derive(Clone, Debug, Default)]
pub(super) struct Isolation {
    /// Backends that are not failing, silent ones among them.
    up: usize,
    silent: usize,
    failing: usize,
    /// Silent backends of each service that has any.
    by_service: BTreeMap<Arc<str>, usize>,
    /// When it went on, and when it was last seen to be on.
    on: Option<(Instant, Instant)>,
    /// When one of a service's backends last answered as it should.
    passed_at: BTreeMap<Arc<str>, Instant>,
}

impl Isolation {
    /// Counts a backend.
    pub(super) fn add(&mut self, service: &Arc<str>, standing: Standing) {
        if standing == Standing::Failing {
            self.failing += 1;
            return;
        }
        self.up += 1;
        if standing == Standing::Silent {
            self.silent += 1;
            *self.by_service.entry(Arc::clone(service)).or_default() += 1;
        }
    }

    /// Counts a backend no more that was added with this standing.
    pub(super) fn remove(&mut self, service: &Arc<str>, standing: Standing) {
        if standing == Standing::Failing {
            self.failing -= 1;
            return;
        }
        self.up -= 1;
        if standing == Standing::Silent {
            self.silent -= 1;
            if let Some(count) = self.by_service.get_mut(service) {
                *count -= 1;
                if *count == 0 {
                    self.by_service.remove(service);
                }
            }
        }
    }

    pub(super) fn passed(&mut self, service: &Arc<str>, at: Instant) {
        self.passed_at.insert(Arc::clone(service), at);
    }

    /// Forgets a service that is probed no more.
    pub(super) fn forget(&mut self, service: &str) {
        self.passed_at.remove(service);
    }

    /// Backends that are failing.
    pub(super) fn failing(&self) -> usize {
        self.failing
    }

    /// Silent backends and all that are not failing, while it is on.
    pub(super) fn is_on(&self) -> Option<(usize, usize)> {
        let is_on = self.silent * 2 > self.up && self.by_service.len() >= SERVICES;
        is_on.then_some((self.silent, self.up))
    }

    /// Notes whether it is on. `was_on` says whether it was before the latest sight.
    pub(super) fn look(&mut self, was_on: bool, now: Instant) {
        if self.is_on().is_some() {
            let since = self.on.filter(|_| was_on).map_or(now, |(since, _)| since);
            self.on = Some((since, now));
        }
    }

    /// What the silence to a question means that was asked at `begun`; `failed_before` is when the
    /// backend's failure before this one was.
    pub(super) fn silence(
        &self,
        service: &Arc<str>,
        failed_before: Option<Instant>,
        begun: Instant,
    ) -> Silence {
        let Some((since, _)) = self.on.filter(|(_, last)| *last >= begun) else {
            return Silence::Counts;
        };
        let Some(passed) = self.passed_at.get(service).filter(|at| **at > since) else {
            return Silence::Clears;
        };
        match failed_before.is_some_and(|failed| failed < *passed) && *passed <= begun {
            true => Silence::Counts,
            false => Silence::SaysNothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_silence_of_most_of_three_services_is_the_nodes() {
        let names: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).to_vec();
        let mut brake = Isolation::default();
        for name in &names {
            brake.add(name, Standing::Up);
        }
        let fall_silent = |brake: &mut Isolation, name| {
            brake.remove(name, Standing::Up);
            brake.add(name, Standing::Silent);
        };
        for name in &names[..2] {
            fall_silent(&mut brake, name);
            assert_eq!(brake.is_on(), None);
        }
        fall_silent(&mut brake, &names[2]);
        assert_eq!(brake.is_on(), Some((3, 4)));

        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let silence = |brake: &Isolation, name: usize, failed_before: u64, begun: u64| {
            brake.silence(&names[name], Some(at(failed_before)), at(begun))
        };
        assert_eq!(silence(&brake, 0, 1, 2), Silence::Counts, "nobody looked");
        brake.look(false, at(10));
        brake.look(true, at(20));
        assert_eq!(silence(&brake, 0, 15, 20), Silence::Clears);
        brake.passed(&names[0], at(9));
        assert_eq!(silence(&brake, 0, 5, 20), Silence::Clears, "it was before");
        brake.passed(&names[0], at(18));
        assert_eq!(silence(&brake, 0, 15, 20), Silence::Counts, "it is proven");
        assert_eq!(silence(&brake, 1, 15, 20), Silence::Clears);
        assert_eq!(silence(&brake, 0, 19, 20), Silence::SaysNothing);
        assert_eq!(silence(&brake, 0, 15, 17), Silence::SaysNothing);

        brake.remove(&names[2], Standing::Silent);
        brake.add(&names[2], Standing::Failing);
        assert_eq!(brake.is_on(), None, "two services are silent");
        brake.look(true, at(30));
        assert_eq!(silence(&brake, 1, 15, 20), Silence::Clears);
        assert_eq!(silence(&brake, 1, 15, 21), Silence::Counts);
    }
}
