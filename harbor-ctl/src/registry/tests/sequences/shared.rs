//! Sequences of two nodes and the Redis that they share.

use std::{collections::BTreeSet, fs, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use redis::aio::MultiplexedConnection;

use super::{
    super::{PAUSE, Server},
    Model, PATIENCE, STEPS, cut, each, fail,
    ground::{self, Dump, Node},
};
use crate::{
    model::{Protocols, Service, testing::service},
    registry::{RedisRegistry, Registry, Rests},
};

/// A journal that was cut is missed within this time.
const NOTICED: Duration = Duration::from_secs(60);

/// One random sequence.
struct Sequence {
    random: StdRng,
    cluster: String,
    server: MultiplexedConnection,
    nodes: [Node; 2],
    dumps: Vec<Dump>,
    model: Model,
    made: u16,
    told: Vec<String>,
}

impl Sequence {
    async fn begin(seed: u64, port: u16, server: MultiplexedConnection) -> Self {
        let cluster = format!("sequence{seed}");
        let node = |name| Node::new(port, &cluster, name);
        let nodes = [node("one").await, node("two").await];
        Self {
            random: StdRng::seed_from_u64(seed),
            nodes,
            dumps: vec![Dump::of(server.clone(), &cluster).await],
            cluster,
            server,
            model: Model::default(),
            made: 0,
            told: Vec::new(),
        }
    }

    async fn step(&mut self) {
        let which = self.random.random_range(0..2_usize);
        match self.random.random_range(0..18) {
            0..=3 => self.create(which).await,
            4..=5 => self.change(which).await,
            6..=7 => self.delete(which).await,
            8 => {
                self.told.push("dump".into());
                self.dumps
                    .push(Dump::of(self.server.clone(), &self.cluster).await);
            }
            9..=10 => self.roll_back().await,
            11 => {
                let is_open = self.random.random_bool(0.5);
                self.told
                    .push(format!("door of {which} is open: {is_open}"));
                self.nodes[which].door.set(is_open);
            }
            12 if self.nodes[which].keeps() && !self.nodes[which].is_holed => {
                self.told.push(format!("{which} stops"));
                self.nodes[which].stop().await;
            }
            13 => {
                let how = fail(&mut self.random, &self.nodes[which].settings.journal);
                self.told.push(format!("disk of {which}: {how}"));
            }
            14 => {
                self.told.push(format!("disk of {which} is well"));
                self.nodes[which].heal();
            }
            15 => self.cut_journal(which).await,
            16 => self.set_clock().await,
            _ => {
                self.told.push(format!("{which} starts"));
                self.nodes[which].start().await;
            }
        }
    }

    async fn create(&mut self, which: usize) {
        let Some(registry) = self.nodes[which].registry() else {
            return;
        };
        self.made += 1;
        let name = format!("{}-{}", self.cluster, self.made);
        let mut fresh = service(&name, 35_000 + self.made, Protocols::Tcp);
        fresh.node.clone_from(&self.nodes[which].settings.node);
        let answer = registry.allocate(&fresh, Rests::Ended).await;
        self.told.push(format!(
            "{which} creates {name}: {:?}",
            answer.as_ref().err()
        ));
        self.model.created(&fresh, answer);
    }

    /// One of the node's own, as it knows it.
    fn own(&mut self, which: usize) -> Option<Service> {
        let node = &self.nodes[which];
        let registry = node.registry()?;
        let ids: Vec<&String> = self.model.there.keys().collect();
        let known = ids.into_iter().filter_map(|id| registry.known(id));
        let own: Vec<Service> = known.filter(|one| one.node == node.settings.node).collect();
        own.choose(&mut self.random).cloned()
    }

    async fn change(&mut self, which: usize) {
        let Some(mut service) = self.own(which) else {
            return;
        };
        service.draining = !service.draining;
        let Some(registry) = self.nodes[which].registry() else {
            return;
        };
        let answer = registry.update(&service).await;
        self.told.push(format!(
            "{which} changes {}: {:?}",
            service.name,
            answer.as_ref().err()
        ));
        self.model.changed(answer, &service.id);
    }

    async fn delete(&mut self, which: usize) {
        let Some(service) = self.own(which) else {
            return;
        };
        let Some(registry) = self.nodes[which].registry() else {
            return;
        };
        let answer = registry.release(&service.id, Duration::ZERO).await;
        self.told.push(format!(
            "{which} deletes {}: {:?}",
            service.name,
            answer.as_ref().err()
        ));
        self.model.released(answer, &service.id);
    }

    /// The server goes back to an earlier state, and hangs up on everybody, as one that starts from it.
    async fn roll_back(&mut self) {
        let back = self.random.random_range(0..self.dumps.len());
        self.told
            .push(format!("back to {back} of {}", self.dumps.len()));
        let open = self
            .nodes
            .each_ref()
            .map(|node| *node.door.is_open.borrow());
        self.nodes.iter().for_each(|node| node.door.set(false));
        self.dumps[back]
            .restore(self.server.clone(), &self.cluster)
            .await;
        // What was there after that was never there.
        self.dumps.truncate(back + 1);
        for (node, is_open) in self.nodes.iter().zip(open) {
            node.door.set(is_open);
        }
    }

    /// The journal of a running node is cut; it is whole again before anything else happens to it.
    async fn cut_journal(&mut self, which: usize) {
        let node = &mut self.nodes[which];
        if node.running.is_none() || !node.keeps() {
            return;
        }
        let length = || fs::metadata(&node.settings.journal).unwrap().len();
        let at = cut(&mut self.random, &node.settings.journal);
        self.told.push(format!("journal of {which} is cut at {at}"));
        let begun = tokio::time::Instant::now();
        while node.keeps() {
            if begun.elapsed() > NOTICED {
                // Somebody has written to it since: it was cut in the middle of a change, or was noticed
                // and written anew between two looks of a test that has no processor.
                assert_ne!(length(), at, "not noticed\n{}", self.told.join("\n"));
                node.is_holed = true;
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        let begun = tokio::time::Instant::now();
        while !node.keeps() {
            let condition = node.registry().map(|registry| registry.condition());
            let told = self.told.join("\n");
            assert!(
                begun.elapsed() < PATIENCE,
                "not whole\n{told}\n{condition:?}"
            );
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The server's clock is set: to it, all that it holds is of another time.
    async fn set_clock(&mut self) {
        let by = [-600, 600, -315_360_000, 315_360_000_i64];
        let by = *by.choose(&mut self.random).unwrap();
        self.told
            .push(format!("the server's clock is set by {by} s"));
        ground::set_clock(self.server.clone(), &self.cluster, by).await;
    }

    /// Every cause is gone: all is as it was acknowledged, on both nodes.
    async fn settle(mut self) {
        for node in &mut self.nodes {
            node.door.set(true);
            node.heal();
            for _ in 0..100 {
                node.start().await;
                if node.running.is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let registries = self.nodes.each_ref().map(|node| node.registry().unwrap());
        let wrong = || {
            registries
                .iter()
                .find_map(|registry| self.model.wrong(|id| registry.known(id)))
        };
        let begun = tokio::time::Instant::now();
        while let Some(wrong) = wrong() {
            assert!(
                begun.elapsed() < PATIENCE,
                "{}: {wrong}\n{}\n{:?}\n{:?}",
                self.cluster,
                self.told.join("\n"),
                registries.map(|registry| registry.condition()),
                self.model,
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // And both know the same.
        let ids = |registry: &RedisRegistry| -> BTreeSet<String> {
            let every = self.model.there.keys().chain(&self.model.deleted);
            let every = every.chain(&self.model.unclear);
            let known = every.filter(|id| registry.known(id).is_some());
            known.cloned().collect()
        };
        while ids(registries[0]) != ids(registries[1]) {
            assert!(begun.elapsed() < PATIENCE, "{}: two truths", self.cluster);
            tokio::time::sleep(PAUSE).await;
        }
    }
}

pub(super) async fn run(seeds: impl IntoIterator<Item = u64>) {
    let Some(server) = Server::start().await else {
        return;
    };
    let connection = server.connection().await;
    each(seeds, |seed| {
        let (port, connection) = (server.port(), connection.clone());
        async move {
            let mut sequence = Sequence::begin(seed, port, connection).await;
            for _ in 0..STEPS {
                sequence.step().await;
            }
            sequence.settle().await;
        }
    })
    .await;
}
