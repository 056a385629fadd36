//! Measures that must be taken as things happen, because they cannot be read afterwards.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use prometheus_client::{
    metrics::{family::Family as Members, histogram::Histogram},
    registry::Registry,
};

use super::family::{Family, RECONCILE, REGISTRY_REQUESTS};

/// Seconds: from what a map's element takes to what a Redis that is away does.
const BOUNDS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0,
];

type Requests = Members<[(&'static str, &'static str); 1], Histogram>;

/// Times, and how often backends were ejected; clones are the same ones.
#[derive(Clone, Debug)]
pub(crate) struct Meters {
    reconcile: Histogram,
    requests: Requests,
    /// By the service's id.
    ejections: Arc<Mutex<BTreeMap<String, u64>>>,
}

/// What the registry is asked for: each has its series from the start.
const OPERATIONS: [&str; 5] = ["load", "allocate", "update", "release", "heard"];

impl Default for Meters {
    fn default() -> Self {
        let requests = Requests::new_with_constructor(histogram);
        for operation in OPERATIONS {
            requests.get_or_create_owned(&[(REGISTRY_REQUESTS.labels[0], operation)]);
        }
        Self {
            reconcile: histogram(),
            requests,
            ejections: Arc::default(),
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

impl Meters {
    /// Times what brings changes to the kernel.
    pub(crate) async fn reconcile<T>(&self, work: impl Future<Output = T>) -> T {
        timed(&self.reconcile, work).await
    }

    /// Times a request to the registry.
    pub(crate) async fn registry<T>(
        &self,
        operation: &'static str,
        work: impl Future<Output = T>,
    ) -> T {
        let histogram = self
            .requests
            .get_or_create_owned(&[(REGISTRY_REQUESTS.labels[0], operation)]);
        timed(&histogram, work).await
    }

    /// A backend of this service was ejected.
    pub(crate) fn ejected(&self, service: &str) {
        *self.locked().entry(service.to_owned()).or_default() += 1;
    }

    /// How often backends of a service were ejected.
    pub(crate) fn ejections(&self, service: &str) -> u64 {
        self.locked().get(service).copied().unwrap_or_default()
    }

    /// Forgets services that are no more.
    pub(crate) fn keep(&self, is_there: impl Fn(&str) -> bool) {
        self.locked().retain(|id, _| is_there(id));
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.ejections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the histograms over to be written.
    pub(super) fn register(&self, registry: &mut Registry) {
        let named = |family: &Family| (family.name, family.help.trim_end_matches('.'));
        let (name, help) = named(&RECONCILE);
        registry.register(name, help, self.reconcile.clone());
        let (name, help) = named(&REGISTRY_REQUESTS);
        registry.register(name, help, self.requests.clone());
    }
}

async fn timed<T>(histogram: &Histogram, work: impl Future<Output = T>) -> T {
    let begun = Instant::now();
    let done = work.await;
    histogram.observe(begun.elapsed().as_secs_f64());
    done
}
