//! Random faults of a shared registry under two nodes that create, change and delete: whatever happened,
//! at the end nothing that was acknowledged is lost, and nothing that was deleted is back.

mod ground;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;

use super::{Server, eventually};
use crate::{
    model::{Protocols, Service, testing::service},
    registry::{RedisRegistry, Registry, RegistryError, Rests},
};
use ground::{Dump, Node};

/// How many sequences run beside each other.
const ABREAST: u64 = 8;
const STEPS: usize = 12;
/// The settled state is waited for so long; nothing depends on how long it takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was answered, and what may be so or not.
#[derive(Debug, Default)]
struct Model {
    there: BTreeMap<String, Service>,
    deleted: BTreeSet<String>,
    /// Somebody asked for a change of it and was not told what became of it.
    unclear: BTreeSet<String>,
}

impl Model {
    fn created(&mut self, asked: &Service, answer: Result<Service, RegistryError>) {
        match answer {
            Ok(service) => drop(self.there.insert(service.id.clone(), service)),
            Err(_) => drop(self.unclear.insert(asked.id.clone())),
        }
    }

    fn changed(&mut self, answer: Result<Service, RegistryError>, id: &str) {
        match answer {
            Ok(service) => drop(self.there.insert(id.to_owned(), service)),
            // He saw another record than the last; nothing was changed.
            Err(RegistryError::Changed(_) | RegistryError::NoService(_)) => {}
            Err(_) => drop(self.unclear.insert(id.to_owned())),
        }
    }

    fn released(&mut self, answer: Result<(), RegistryError>, id: &str) {
        match answer {
            Ok(()) => {
                self.there.remove(id);
                self.deleted.insert(id.to_owned());
            }
            Err(_) => drop(self.unclear.insert(id.to_owned())),
        }
    }

    /// What is not so of what a node knows.
    fn wrong(&self, registry: &RedisRegistry) -> Option<String> {
        let clear = |id: &&String| !self.unclear.contains(*id);
        for (id, service) in self.there.iter().filter(|(id, _)| clear(id)) {
            match registry.known(id) {
                None => return Some(format!("{} is lost", service.name)),
                Some(known) if known.draining != service.draining => {
                    return Some(format!("{} is as it was before", service.name));
                }
                Some(_) => {}
            }
        }
        let back = self
            .deleted
            .iter()
            .filter(clear)
            .find(|id| registry.known(id).is_some());
        back.map(|id| format!("{id} is back"))
    }
}

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
        match self.random.random_range(0..14) {
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
            12 => {
                self.told.push(format!("{which} stops"));
                self.nodes[which].stop().await;
            }
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

    /// Every cause is gone: all is as it was acknowledged, on both nodes.
    async fn settle(mut self) {
        for node in &mut self.nodes {
            node.door.set(true);
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
                .find_map(|registry| self.model.wrong(registry))
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
        eventually("both know the same", || async {
            let ids = |registry: &RedisRegistry| -> BTreeSet<String> {
                let every = self.model.there.keys().chain(&self.model.deleted);
                let every = every.chain(&self.model.unclear);
                every
                    .filter(|id| registry.known(id).is_some())
                    .cloned()
                    .collect()
            };
            ids(registries[0]) == ids(registries[1])
        })
        .await;
    }
}

async fn run(seeds: std::ops::Range<u64>) {
    let Some(server) = Server::start().await else {
        return;
    };
    let connection = server.connection().await;
    let mut running = JoinSet::new();
    let mut seeds = seeds.into_iter();
    loop {
        while running.len() < ABREAST as usize
            && let Some(seed) = seeds.next()
        {
            let (port, connection) = (server.port(), connection.clone());
            running.spawn(async move {
                let mut sequence = Sequence::begin(seed, port, connection).await;
                for _ in 0..STEPS {
                    sequence.step().await;
                }
                sequence.settle().await;
            });
        }
        match running.join_next().await {
            Some(done) => done.unwrap(),
            None => return,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_sequence_of_faults_what_was_acknowledged_is_so() {
    run(0..200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a soak of many minutes: cargo xtask soak registry"]
async fn after_ten_thousand_sequences_of_faults_what_was_acknowledged_is_so() {
    run(1_000..11_000).await;
}
