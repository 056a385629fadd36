//! Tells dead backends from a node that is cut off. Pure.
//!
//! When most backends of several services fall silent at once, the likely cause is here. The brake
//! then keeps a silent backend in its last state, unless another one of its service has answered
//! meanwhile: that proves that the node reaches the service. A refusal or a wrong answer proves as
//! much, so the brake concerns silence alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use super::judge::Standing;

/// Silence of fewer services is theirs.
const SERVICES: usize = 3;

/// Counts who is silent.
#[derive(Clone, Debug, Default)]
pub(super) struct Brake {
    /// Backends that are not failing, silent ones among them.
    up: usize,
    silent: usize,
    /// Silent backends of each service that has any.
    by_service: BTreeMap<Arc<str>, usize>,
    /// When one of a service's backends last answered as it should.
    passed_at: BTreeMap<Arc<str>, Instant>,
}

impl Brake {
    /// Counts a backend.
    pub(super) fn add(&mut self, service: &Arc<str>, standing: Standing) {
        if standing == Standing::Failing {
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

    /// Forgets services that are probed no more.
    pub(super) fn retain(&mut self, services: &BTreeSet<Arc<str>>) {
        self.passed_at
            .retain(|service, _| services.contains(service));
    }

    /// Silent backends and all that are not failing, while it is on.
    pub(super) fn is_on(&self) -> Option<(usize, usize)> {
        let is_on = self.silent * 2 > self.up && self.by_service.len() >= SERVICES;
        is_on.then_some((self.silent, self.up))
    }

    /// Whether a silent backend stays in its last state.
    pub(super) fn holds(&self, service: &Arc<str>, failed_before: Option<Instant>) -> bool {
        let proven = match (self.passed_at.get(service), failed_before) {
            (Some(passed), Some(failed)) => *passed > failed,
            _ => false,
        };
        self.is_on().is_some() && !proven
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_silence_of_most_of_three_services_is_the_nodes() {
        let names: Vec<Arc<str>> = ["a", "b", "c", "d"].map(Arc::from).to_vec();
        let mut brake = Brake::default();
        for name in &names {
            brake.add(name, Standing::Up);
        }
        let fall_silent = |brake: &mut Brake, name| {
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
        assert!(brake.holds(&names[0], Some(start)));
        brake.passed(&names[0], start + Duration::from_secs(1));
        assert!(!brake.holds(&names[0], Some(start)));
        assert!(brake.holds(&names[1], Some(start)));
        assert!(brake.holds(&names[0], Some(start + Duration::from_secs(2))));

        brake.remove(&names[2], Standing::Silent);
        brake.add(&names[2], Standing::Failing);
        assert_eq!(brake.is_on(), None, "two services are silent");
    }
}
