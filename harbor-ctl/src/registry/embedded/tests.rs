//! What only a registry in a file can promise.

use std::path::PathBuf;

use super::*;
use crate::model::{Protocol, Protocols, testing::service};

fn file() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("harbor.redb");
    (directory, path)
}

const REST: Duration = Duration::from_secs(1_000);

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_reopen() {
    let (_directory, path) = file();
    let mut web = service("web", 35_000, Protocols::Both);
    let spoken = Spoken { epoch: 3, seq: 7 };
    {
        let registry = EmbeddedRegistry::open(&path).unwrap();
        web = registry.allocate(&web, Rests::Respected).await.unwrap();
        web.add_backend("10.0.0.1:80".parse().unwrap(), None, 1)
            .unwrap();
        web = registry.update(&web).await.unwrap();
        let old = service("old", 35_001, Protocols::Udp);
        registry.allocate(&old, Rests::Respected).await.unwrap();
        registry.release("id-old", REST).await.unwrap();
        registry.heard("dea1", spoken, Some(REST)).await.unwrap();
    }
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let contents = registry.load().await.unwrap();
    assert_eq!(contents.services, [web]);
    let resting: Vec<_> = contents.resting.keys().copied().collect();
    assert_eq!(resting, [(Protocol::Udp, 35_001)]);
    let host = AppHost {
        dea: "dea1".into(),
        spoken,
        lease_left: None,
    };
    assert_eq!(registry.app_hosts().await.unwrap(), [host]);
}

#[tokio::test]
async fn a_second_user_of_the_file_is_refused() {
    let (_directory, path) = file();
    let _first = EmbeddedRegistry::open(&path).unwrap();
    let error = EmbeddedRegistry::open(&path).unwrap_err();
    assert!(matches!(error, RegistryError::InUse(_)), "{error}");
}

#[test]
fn a_newer_schema_is_refused() {
    let (_directory, path) = file();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    registry
        .file
        .write(|transaction| {
            transaction
                .open_table(META)
                .unwrap()
                .insert("schema", 2)
                .unwrap();
            Ok(())
        })
        .unwrap();
    drop(registry);
    let error = EmbeddedRegistry::open(&path).unwrap_err();
    assert!(
        matches!(error, RegistryError::Schema { found: 2, .. }),
        "{error}"
    );
}

/// Should the agent die before the kernel has heard of it, a start knows that the number was given up.
#[tokio::test]
async fn a_number_that_does_not_rest_is_remembered_until_rests_are_ended() {
    let (_directory, path) = file();
    let registry = EmbeddedRegistry::open(&path).unwrap();
    let web = service("web", 35_000, Protocols::Tcp);
    registry.allocate(&web, Rests::Respected).await.unwrap();
    registry.release(&web.id, Duration::ZERO).await.unwrap();
    let resting = registry.load().await.unwrap().resting;
    let until = resting[&(Protocol::Tcp, 35_000)];
    assert!(until <= now(), "it can be drawn at once");
    let next = service("next", 35_000, Protocols::Tcp);
    registry.allocate(&next, Rests::Respected).await.unwrap();
    assert!(registry.load().await.unwrap().resting.is_empty());
    registry.release(&next.id, Duration::ZERO).await.unwrap();
    registry.end_rests().await.unwrap();
    assert!(registry.load().await.unwrap().resting.is_empty());
}

/// What is being copied is copied to its end, and the files are free then.
async fn opened(path: &Path, journal: &Path) -> EmbeddedRegistry {
    for _ in 0..1_000 {
        if let Ok(registry) = EmbeddedRegistry::open_with_copy(path, journal) {
            return registry;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    EmbeddedRegistry::open_with_copy(path, journal).unwrap()
}

/// What a number was called before counts as little as what has it now: each that is served has to be
/// somebody's.
#[tokio::test]
async fn an_import_ends_a_freeze_only_when_every_number_of_the_kernel_is_somebodys() {
    let (directory, path) = file();
    let journal = directory.path().join("journal.redb");
    let web = service("web", 35_000, Protocols::Both);
    {
        let registry = EmbeddedRegistry::open_with_copy(&path, &journal).unwrap();
        registry.hold(InKernel::default()).await.unwrap();
        registry.allocate(&web, Rests::Respected).await.unwrap();
        registry.copy_now();
    }
    std::fs::remove_file(&path).unwrap();
    let (tcp, udp) = ((Protocol::Tcp, 35_000), (Protocol::Udp, 35_000));
    let beside = (Protocol::Tcp, 35_001);
    let found = || InKernel {
        served: [tcp, udp, beside].into(),
        ..InKernel::default()
    };
    let unnamed = |registry: &EmbeddedRegistry| {
        let emptied = registry.condition().emptied;
        emptied.map(|emptied| (emptied.ports, emptied.unnamed.iter().copied().collect()))
    };
    let registry = opened(&path, &journal).await;
    registry.hold(found()).await.unwrap();
    assert_eq!(unnamed(&registry), Some((2, vec![beside])));

    let moved = service("web", 36_000, Protocols::Both);
    registry.import(&[moved]).await.unwrap();
    assert_eq!(unnamed(&registry), Some((2, vec![tcp, beside, udp])));
    let half = service("half", 35_000, Protocols::Tcp);
    registry.import(&[half]).await.unwrap();
    assert_eq!(unnamed(&registry), Some((2, vec![beside, udp])));
    // It is remembered, and the kernel is asked again at the next start.
    registry.copy_now();
    drop(registry);
    let registry = opened(&path, &journal).await;
    assert!(registry.is_new());
    registry.hold(found()).await.unwrap();
    assert_eq!(unnamed(&registry), Some((2, vec![beside, udp])));
    let rest = [
        ("rest", 35_000, Protocols::Udp),
        ("b", 35_001, Protocols::Tcp),
    ];
    let rest = rest.map(|(name, port, protocols)| service(name, port, protocols));
    registry.import(&rest).await.unwrap();
    assert_eq!(unnamed(&registry), None);
    assert!(!registry.is_new());
    assert_eq!(registry.load().await.unwrap().services.len(), 4);
    assert_eq!(registry.audit().await.unwrap(), [""; 0]);
}

/// As one that was decided about: the datapath may not have run yet, which would have told.
#[tokio::test]
async fn a_new_file_that_nobody_has_decided_about_is_put_right_from_its_copy_too() {
    let (directory, path) = file();
    let journal = directory.path().join("journal.redb");
    let older = directory.path().join("older");
    let [one, two] = [("one", 35_000), ("two", 35_001)];
    let [one, two] = [one, two].map(|(name, port)| service(name, port, Protocols::Tcp));
    let registry = EmbeddedRegistry::open_with_copy(&path, &journal).unwrap();
    registry.allocate(&one, Rests::Respected).await.unwrap();
    registry.copy_now();
    drop(registry);
    drop(opened(&path, &journal).await);
    std::fs::copy(&path, &older).unwrap();
    let registry = opened(&path, &journal).await;
    registry.release(&one.id, REST).await.unwrap();
    let two = registry.allocate(&two, Rests::Respected).await.unwrap();
    registry.copy_now();
    drop(registry);
    drop(opened(&path, &journal).await);
    std::fs::copy(&older, &path).unwrap();
    let registry = opened(&path, &journal).await;
    assert!(registry.is_new());
    assert_eq!(registry.load().await.unwrap().services, [two]);
    registry.hold(InKernel::default()).await.unwrap();
    assert!(registry.condition().emptied.is_none() && !registry.is_new());
}
