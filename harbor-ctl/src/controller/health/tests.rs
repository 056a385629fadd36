//! A registry that refuses: what is judged is in force all the same, and on record later.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    config::{self, Source},
    forwarding::Engines,
    model::{AppHost, HealthCheck, Pool, Pools, Protocols, Spoken, testing::service},
    registry::{Contents, EmbeddedRegistry, Rests},
};

/// The embedded engine, behind a door that can be shut for updates.
struct Door {
    inner: EmbeddedRegistry,
    /// So many updates more are refused.
    refuses: AtomicUsize,
    updates: AtomicUsize,
}

impl Registry for Door {
    const IS_SHARED: bool = false;

    async fn load(&self) -> Result<Contents, RegistryError> {
        self.inner.load().await
    }

    async fn allocate(&self, service: &Service, rests: Rests) -> Result<Service, RegistryError> {
        self.inner.allocate(service, rests).await
    }

    async fn update(&self, service: &Service) -> Result<Service, RegistryError> {
        let refuses = |left: usize| left.checked_sub(1);
        let order = Ordering::Relaxed;
        if self.refuses.fetch_update(order, order, refuses).is_ok() {
            return Err(RegistryError::Engine("the disk is full".into()));
        }
        self.updates.fetch_add(1, order);
        self.inner.update(service).await
    }

    fn pools(&self) -> Pools {
        self.inner.pools()
    }

    async fn put_pool(&self, pool: &Pool) -> Result<Pool, RegistryError> {
        self.inner.put_pool(pool).await
    }

    async fn remove_pool(&self, pool: &Pool) -> Result<(), RegistryError> {
        self.inner.remove_pool(pool).await
    }

    async fn release(&self, id: &str, rest: Duration) -> Result<(), RegistryError> {
        self.inner.release(id, rest).await
    }

    async fn end_rests(&self) -> Result<(), RegistryError> {
        self.inner.end_rests().await
    }

    async fn limit_rests(&self, latest: u64) -> Result<(), RegistryError> {
        self.inner.limit_rests(latest).await
    }

    async fn app_hosts(&self) -> Result<Vec<AppHost>, RegistryError> {
        self.inner.app_hosts().await
    }

    async fn heard(
        &self,
        dea: &str,
        spoken: Spoken,
        lease: Option<Duration>,
    ) -> Result<(), RegistryError> {
        self.inner.heard(dea, spoken, lease).await
    }

    async fn forget_app_host(&self, dea: &str) -> Result<(), RegistryError> {
        self.inner.forget_app_host(dea).await
    }

    async fn import(&self, services: &[Service]) -> Result<(), RegistryError> {
        self.inner.import(services).await
    }

    async fn backup(&self, to: &std::path::Path) -> Result<(), RegistryError> {
        self.inner.backup(to).await
    }

    async fn audit(&self) -> Result<Vec<String>, RegistryError> {
        self.inner.audit().await
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }
}

/// A controller of one service with three backends, without a datapath.
async fn controller(state: &std::path::Path, refuses: usize) -> Controller<Door> {
    let source = Source {
        path: "/nowhere/harbor.toml".into(),
        must_exist: false,
        environment: Vec::new(),
        flags: vec!["health.check=tcp".into(), "datapath.mode=proxy".into()],
    };
    let inner = EmbeddedRegistry::open(&state.join("harbor.redb")).unwrap();
    let mut web = service("web", 35_000, Protocols::Tcp);
    for last in 1..=3 {
        web.add_backend(([10, 0, 0, last], 80).into(), None, 1)
            .unwrap();
    }
    let recorded = inner.allocate(&web, Rests::Respected).await.unwrap();
    let contents = Contents {
        services: vec![recorded],
        ..Contents::default()
    };
    let registry = Door {
        inner,
        refuses: refuses.into(),
        updates: 0.into(),
    };
    let config = config::load(&source).unwrap();
    let engines = Engines::start(&config.config).await.unwrap();
    Controller::new(config, registry, contents, engines)
}

fn change(last: u8, failing: Option<&str>) -> Change {
    Change {
        key: Key {
            service: "id-web".into(),
            address: ([10, 0, 0, last], 80).into(),
        },
        failing: failing.map(str::to_owned),
    }
}

fn failing<'a>(services: impl IntoIterator<Item = &'a Service>) -> Vec<bool> {
    let first = services.into_iter().next().unwrap();
    let backends = first.backends.iter();
    backends.map(|backend| backend.failing.is_some()).collect()
}

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(test)
}

#[test]
fn changes_of_one_service_are_one_record() {
    let state = tempfile::tempdir().unwrap();
    run(async {
        let mut controller = controller(state.path(), 0).await;
        let changes = vec![change(1, Some("refused")), change(3, Some("refused"))];
        controller.judged(changes).await;
        assert_eq!(failing(controller.services()), [true, false, true]);
        let recorded = controller.registry.load().await.unwrap();
        assert!(recorded.services.iter().eq(controller.services()));
        assert_eq!(controller.registry.updates.load(Ordering::Relaxed), 1);
        assert_eq!(controller.health_view().not_recorded, None);
    });
}

#[test]
fn a_registry_that_refuses_delays_the_record_and_not_the_judgement() {
    let state = tempfile::tempdir().unwrap();
    run(async {
        let mut controller = controller(state.path(), 1).await;
        controller.judged(vec![change(1, Some("refused"))]).await;
        assert_eq!(failing(controller.services()), [true, false, false]);
        let reason = controller.health_view().not_recorded.unwrap();
        assert!(reason.contains("the disk is full"), "{reason}");
        let recorded = controller.registry.load().await.unwrap();
        assert_eq!(failing(&recorded.services), [false, false, false]);
        // Records that are read anew do not bring the old state back.
        controller.look_again().await.unwrap();
        assert_eq!(failing(controller.services()), [true, false, false]);
        // Nor is the registry pestered.
        controller.record_health().await;
        assert!(controller.health_view().not_recorded.is_some());
        let long_ago = Instant::now() - RECORD_PAUSE;
        controller.health.refused = Some((reason, long_ago));
        controller.record_health().await;
        assert_eq!(controller.health_view().not_recorded, None);
        let recorded = controller.registry.load().await.unwrap();
        assert_eq!(failing(&recorded.services), [true, false, false]);
    });
}

#[test]
fn a_record_that_somebody_else_has_changed_keeps_both_changes() {
    let state = tempfile::tempdir().unwrap();
    run(async {
        let mut controller = controller(state.path(), 0).await;
        let mut other = Service::clone(controller.services.get("id-web").unwrap());
        other.backends.remove(2);
        controller.registry.inner.update(&other).await.unwrap();
        let changes = vec![change(1, Some("refused")), change(3, Some("refused"))];
        controller.judged(changes).await;
        let recorded = controller.registry.load().await.unwrap();
        assert_eq!(failing(&recorded.services), [true, false]);
        assert!(recorded.services.iter().eq(controller.services()));
        assert!(controller.health.unrecorded.is_empty());
    });
}

#[test]
fn who_is_probed_follows_what_changes_and_nothing_else() {
    let state = tempfile::tempdir().unwrap();
    run(async {
        let mut controller = controller(state.path(), 0).await;
        let mut seen = Seen::default();
        let mut counts = |controller: &Controller<Door>| -> Vec<usize> {
            let changed = controller.changed(&mut seen);
            changed.iter().map(|(_, targets)| targets.len()).collect()
        };
        assert_eq!(counts(&controller), [3]);
        assert_eq!(counts(&controller), [0; 0]);
        controller.judged(vec![change(1, Some("refused"))]).await;
        assert_eq!(counts(&controller), [3], "another record");
        controller.running.config.health.fall = 9;
        assert_eq!(counts(&controller), [3], "another rule");
        controller.running.config.health.check = HealthCheck::Off;
        assert_eq!(counts(&controller), [0]);
        assert_eq!(controller.forgotten(), [change(1, None)]);
        controller.services.remove("id-web");
        assert_eq!(counts(&controller), [0]);
        assert_eq!(counts(&controller), [0; 0]);
    });
}
