//! Sequences of two nodes, each with a file of its own on a disk that fails.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use rand::{
    Rng as _, SeedableRng as _,
    rngs::StdRng,
    seq::{IndexedMutRandom as _, IndexedRandom as _},
};
use tokio::task::JoinHandle;

use super::{super::PAUSE, Model, PATIENCE, STEPS, cut, each, fail};
use crate::{
    model::{Protocols, Service, testing::service},
    registry::{
        EmbeddedRegistry, Registry as _, RegistryError, Rests,
        backing::faults::{self, Fault},
    },
};

/// The files of a node: the registry, and its second copy.
const FILES: [&str; 2] = ["harbor.redb", "journal.redb"];
/// How often a failing disk is looked at, and longer.
const LOOK: Duration = Duration::from_millis(700);

/// A node, running or not.
struct Node {
    name: String,
    folder: tempfile::TempDir,
    running: Option<(EmbeddedRegistry, JoinHandle<()>)>,
    /// One of its files was cut since it was started; the other is its only good copy.
    is_cut: bool,
    model: Model,
    made: u16,
    /// Why it was not started.
    refused: Option<String>,
}

impl Node {
    fn new(name: String) -> Self {
        Self {
            name,
            folder: tempfile::tempdir().unwrap(),
            running: None,
            is_cut: false,
            model: Model::default(),
            made: 0,
            refused: None,
        }
    }

    fn file(&self, which: usize) -> PathBuf {
        self.folder.path().join(FILES[which])
    }

    fn is_well(&self) -> bool {
        let is_failing = |which| faults::of(&self.file(which)).is_set();
        let is_kept = |(registry, _): &(EmbeddedRegistry, _)| {
            let condition = registry.condition();
            condition.not_kept.is_none() && condition.failed.is_none()
        };
        !(0..2).any(is_failing) && self.running.as_ref().is_none_or(is_kept)
    }

    fn heal(&self) {
        (0..2).for_each(|which| faults::of(&self.file(which)).set(Fault::None, 0));
    }

    fn open(&self) -> Result<EmbeddedRegistry, RegistryError> {
        EmbeddedRegistry::open_with_copy(&self.file(0), &self.file(1))
    }

    /// Starts; a spoilt file is set aside, as the fix says, and what the copy holds is taken back.
    async fn start(&mut self) {
        if self.running.is_some() {
            return;
        }
        let mut opened = self.open();
        if matches!(&opened, Err(RegistryError::Spoilt { path, .. }) if *path == self.file(0)) {
            fs::rename(self.file(0), self.folder.path().join("spoilt")).unwrap();
            opened = self.open();
        }
        let registry = match opened {
            Ok(registry) => registry,
            Err(error) => {
                self.refused = Some(error.to_string());
                return;
            }
        };
        // As the agent: if nobody knows of ports, it is new by right.
        if registry.is_new() && registry.condition().emptied.is_none() {
            let _ = registry.hold(crate::registry::InKernel::default()).await;
        }
        let mut news = registry.follow();
        let heard = tokio::spawn(async move { while news.recv().await.is_some() {} });
        self.running = Some((registry, heard));
        // Both are the same again.
        self.is_cut &= !self.is_well();
    }

    /// The operator decides for what the copy holds.
    async fn take_back(&self) {
        let Some((registry, _)) = &self.running else {
            return;
        };
        if registry.condition().emptied.is_some() {
            let held = registry.load().await.unwrap().services;
            registry.import(&held).await.unwrap();
        }
    }

    async fn stop(&mut self) {
        let Some((registry, heard)) = self.running.take() else {
            return;
        };
        heard.abort();
        let _ = heard.await;
        drop(registry);
        // What is being copied is copied to its end, and the files are free then.
        let begun = tokio::time::Instant::now();
        while let Err(RegistryError::InUse(path)) = self.open() {
            assert!(begun.elapsed() < PATIENCE, "{} is not free", path.display());
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn create(&mut self) -> Option<String> {
        self.made += 1;
        let name = format!("{}-{}", self.name, self.made);
        let fresh = service(&name, 35_000 + self.made, Protocols::Tcp);
        let (registry, _) = self.running.as_ref()?;
        let answer = registry.allocate(&fresh, Rests::Ended).await;
        let told = format!("creates {name}: {:?}", answer.as_ref().err());
        self.model.created(&fresh, answer);
        Some(told)
    }

    /// One of those that are there for sure.
    fn one(&self, random: &mut StdRng) -> Option<Service> {
        let all: Vec<&Service> = self.model.there.values().collect();
        all.choose(random).map(|one| (*one).clone())
    }

    async fn change(&mut self, random: &mut StdRng) -> Option<String> {
        let mut one = self.one(random)?;
        one.draining = !one.draining;
        let (registry, _) = self.running.as_ref()?;
        let answer = registry.update(&one).await;
        let told = format!("changes {}: {:?}", one.name, answer.as_ref().err());
        self.model.changed(answer, &one.id);
        Some(told)
    }

    async fn delete(&mut self, random: &mut StdRng) -> Option<String> {
        let one = self.one(random)?;
        let (registry, _) = self.running.as_ref()?;
        let answer = registry.release(&one.id, Duration::from_secs(60)).await;
        let told = format!("deletes {}: {:?}", one.name, answer.as_ref().err());
        self.model.released(answer, &one.id);
        Some(told)
    }

    async fn step(&mut self, random: &mut StdRng) -> Option<String> {
        match random.random_range(0..14) {
            0..=3 => self.create().await,
            4..=5 => self.change(random).await,
            6 => self.delete(random).await,
            7..=8 => {
                let which = random.random_range(0..2);
                let how = fail(random, &self.file(which));
                Some(format!("disk of {}: {how}", FILES[which]))
            }
            9 => {
                self.heal();
                // Or it is healed before anybody has noticed, which happens too.
                tokio::time::sleep(LOOK * random.random_range(0..2)).await;
                Some("disks are well".into())
            }
            10 if self.is_well() && !self.is_cut && self.file(0).exists() => {
                let which = random.random_range(0..2);
                let at = cut(random, &self.file(which));
                self.is_cut = true;
                Some(format!("{} is cut at {at}", FILES[which]))
            }
            11 if self.is_well() => {
                self.stop().await;
                Some("stops".into())
            }
            _ => {
                self.start().await;
                self.take_back_if_well().await;
                Some(format!("starts: {}", self.running.is_some()))
            }
        }
    }

    async fn take_back_if_well(&mut self) {
        if self.is_well() {
            self.take_back().await;
        }
    }

    /// Every cause is gone: all is as it was acknowledged, now and after another start.
    async fn settle(&mut self, told: &[String]) {
        self.heal();
        if self.is_cut {
            self.stop().await;
        }
        for _ in 0..2 {
            for _ in 0..2_000 {
                self.start().await;
                if self.running.is_some() {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            self.take_back().await;
            let begun = tokio::time::Instant::now();
            while !self.is_well() || self.running.is_none() {
                let condition = self.running.as_ref().map(|running| running.0.condition());
                let (refused, told) = (&self.refused, told.join("\n"));
                assert!(
                    begun.elapsed() < PATIENCE,
                    "{}\n{told}\n{refused:?} {condition:?}",
                    self.name
                );
                tokio::time::sleep(PAUSE).await;
            }
            let (registry, _) = self.running.as_ref().unwrap();
            let found = registry.load().await.unwrap().services;
            let found: BTreeMap<String, Service> =
                found.into_iter().map(|one| (one.id.clone(), one)).collect();
            let wrong = self.model.wrong(|id| found.get(id).cloned());
            let told = told.join("\n");
            assert_eq!(wrong, None, "{}\n{told}\n{:?}", self.name, self.model);
            assert_eq!(registry.audit().await.unwrap(), [""; 0], "{told}");
            self.stop().await;
        }
    }
}

pub(super) async fn run(seeds: impl IntoIterator<Item = u64>) {
    each(seeds, |seed| async move {
        let mut random = StdRng::seed_from_u64(seed);
        let mut nodes = ["one", "two"].map(|name| Node::new(format!("{name}{seed}")));
        let mut told = Vec::new();
        for node in &mut nodes {
            node.start().await;
        }
        for _ in 0..STEPS {
            let node = nodes.choose_mut(&mut random).unwrap();
            let what = node.step(&mut random).await;
            told.extend(what.map(|what| format!("{}: {what}", node.name)));
        }
        for node in &mut nodes {
            node.settle(&told).await;
        }
    })
    .await;
}
