//! One suite for both engines: what a registry promises, whoever keeps it.

mod redis_only;
mod rollback;
mod sequences;
mod server;
mod spoilt;
mod standing;

use std::{future::Future, path::PathBuf, time::Duration};

use tempfile::TempDir;

use super::{EmbeddedRegistry, RedisRegistry, RedisSettings, Registry, RegistryError, Rests};
use crate::model::{
    BackendRule, Protocol, Protocols, RegistryUrl, Service, Spoken, testing::service,
};
use server::Server;

const REST: Duration = Duration::from_secs(1_000);
/// Between two looks: each may be a connection of its own, and its port stays taken for a minute.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let wait = async {
        while !holds().await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(15), wait).await;
    done.unwrap_or_else(|_| panic!("not within 15 s: {what}"));
}

/// Makes a test of each promise for each engine.
macro_rules! promises {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("harbor.redb");
                super::$name(&super::EmbeddedRegistry::open(&path).unwrap()).await;
            })+
        }
        mod redis {
            $(#[tokio::test]
            async fn $name() {
                let Some(server) = super::Server::start().await else { return };
                let node = super::Node::new(&server, "one");
                super::$name(&node.open().await.unwrap()).await;
            })+
        }
    };
}

promises!(
    a_number_is_taken_once_in_each_protocol,
    a_resting_number_is_not_drawn_but_can_be_asked_for,
    a_writer_who_did_not_see_the_latest_is_refused,
    an_app_host_never_goes_back,
    an_allocation_asked_again_changes_nothing,
    an_import_places_all_or_none,
    a_backup_holds_what_the_registry_held,
);

/// One node's settings, with a journal of its own.
struct Node {
    settings: RedisSettings,
    _folder: TempDir,
}

impl Node {
    fn new(server: &Server, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let RegistryUrl::Redis(url) = server.url().parse().unwrap() else {
            unreachable!()
        };
        let target = super::redis::Target {
            url,
            password: None,
            authorities: None,
            timeout: Duration::from_secs(2),
        };
        let settings = RedisSettings {
            target,
            cluster: "test".into(),
            node: name.into(),
            journal: folder.path().join("journal.redb"),
            rule: BackendRule::default(),
            sync: None,
        };
        Self {
            settings,
            _folder: folder,
        }
    }

    async fn open(&self) -> Result<RedisRegistry, RegistryError> {
        RedisRegistry::open(self.settings.clone()).await
    }

    /// A service of this node's.
    fn service(&self, name: &str, port: u16) -> Service {
        let mut one = service(name, port, Protocols::Tcp);
        one.node.clone_from(&self.settings.node);
        one
    }
}

async fn a_number_is_taken_once_in_each_protocol(registry: &impl Registry) {
    let web = service("web", 35_000, Protocols::Tcp);
    registry.allocate(&web, Rests::Respected).await.unwrap();
    registry.allocate(&web, Rests::Respected).await.unwrap();
    let both = service("b", 35_000, Protocols::Both);
    let error = registry.allocate(&both, Rests::Ended).await.unwrap_err();
    let taken = RegistryError::NumberTaken {
        protocol: Protocol::Tcp,
        port: 35_000,
    };
    assert_eq!(error.to_string(), taken.to_string());
    let other_half = service("u", 35_000, Protocols::Udp);
    registry
        .allocate(&other_half, Rests::Respected)
        .await
        .unwrap();
    assert_eq!(registry.load().await.unwrap().services.len(), 2);
}

async fn a_resting_number_is_not_drawn_but_can_be_asked_for(registry: &impl Registry) {
    let web = service("web", 35_000, Protocols::Tcp);
    registry.allocate(&web, Rests::Respected).await.unwrap();
    registry.release("id-web", REST).await.unwrap();
    registry.release("id-web", Duration::ZERO).await.unwrap();
    let next = service("next", 35_000, Protocols::Tcp);
    let error = registry
        .allocate(&next, Rests::Respected)
        .await
        .unwrap_err();
    assert!(
        matches!(error, RegistryError::NumberTaken { .. }),
        "{error}"
    );
    registry.end_rests().await.unwrap();
    assert_eq!(registry.load().await.unwrap().resting.len(), 1);
    registry.allocate(&next, Rests::Ended).await.unwrap();
    assert!(registry.load().await.unwrap().resting.is_empty());
}

async fn a_writer_who_did_not_see_the_latest_is_refused(registry: &impl Registry) {
    let web = service("web", 35_000, Protocols::Tcp);
    let first = registry.allocate(&web, Rests::Respected).await.unwrap();
    let mut drained = first.clone();
    drained.draining = true;
    let second = registry.update(&drained).await.unwrap();
    assert_eq!(second.revision, first.revision + 1);
    // The answer was lost: asked again, the same is answered.
    assert_eq!(registry.update(&drained).await.unwrap(), second);
    let error = registry.update(&first).await.unwrap_err();
    assert!(matches!(error, RegistryError::Changed(_)), "{error}");
    registry.release("id-web", Duration::ZERO).await.unwrap();
    let error = registry.update(&second).await.unwrap_err();
    assert!(matches!(error, RegistryError::NoService(_)), "{error}");
}

async fn an_app_host_never_goes_back(registry: &impl Registry) {
    let spoken = |epoch, seq| Spoken { epoch, seq };
    let lease = Some(Duration::from_secs(60));
    registry.heard("d", spoken(2, 5), lease).await.unwrap();
    registry.heard("d", spoken(2, 4), None).await.unwrap();
    registry.heard("d", spoken(1, 9), None).await.unwrap();
    let hosts = registry.app_hosts().await.unwrap();
    assert_eq!(hosts[0].spoken, spoken(2, 5));
    assert!(hosts[0].lease_left.unwrap() > Duration::from_secs(50));
    registry.heard("d", spoken(10, 1), None).await.unwrap();
    assert_eq!(registry.app_hosts().await.unwrap()[0].spoken, spoken(10, 1));
    registry.forget_app_host("d").await.unwrap();
    assert!(registry.app_hosts().await.unwrap().is_empty());
}

async fn an_allocation_asked_again_changes_nothing(registry: &impl Registry) {
    let web = service("web", 35_000, Protocols::Both);
    let first = registry.allocate(&web, Rests::Respected).await.unwrap();
    let mut drained = first.clone();
    drained.draining = true;
    let drained = registry.update(&drained).await.unwrap();
    let again = registry.allocate(&web, Rests::Respected).await.unwrap();
    assert_eq!(
        again, drained,
        "the answer to the first was lost, the change since was not"
    );
    assert_eq!(registry.load().await.unwrap().services, [drained]);
}

async fn an_import_places_all_or_none(registry: &impl Registry) {
    let held = service("held", 35_000, Protocols::Tcp);
    registry.allocate(&held, Rests::Respected).await.unwrap();
    let fresh = service("fresh", 35_001, Protocols::Both);
    let clash = service("clash", 35_000, Protocols::Both);
    let error = registry.import(&[fresh.clone(), clash]).await.unwrap_err();
    assert!(error.to_string().contains("id-clash"), "{error}");
    assert_eq!(registry.load().await.unwrap().services.len(), 1);
    registry.import(std::slice::from_ref(&fresh)).await.unwrap();
    registry.import(&[fresh]).await.unwrap();
    assert_eq!(registry.load().await.unwrap().services.len(), 2);
}

async fn a_backup_holds_what_the_registry_held(registry: &impl Registry) {
    for number in 35_000..35_010 {
        let one = service(&format!("s{number}"), number, Protocols::Udp);
        registry.allocate(&one, Rests::Respected).await.unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("copy.redb");
    registry.backup(&path).await.unwrap();
    registry.release("id-s35000", Duration::ZERO).await.unwrap();
    // Both engines' files keep services in the same table.
    let copy = EmbeddedRegistry::open(&path).unwrap();
    assert_eq!(copy.load().await.unwrap().services.len(), 10);
}
