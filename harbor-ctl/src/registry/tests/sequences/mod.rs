//! Random faults of registries under nodes that create, change and delete: whatever happened, at the end
//! nothing that was acknowledged is lost, and nothing that was deleted is back.

mod ground;
mod own;
mod shared;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    ops::Range,
    panic,
    path::Path,
    sync::Once,
    time::{Duration, Instant},
};

use rand::{Rng as _, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    model::Service,
    registry::{
        RegistryError,
        backing::faults::{self, Fault},
        is_answered,
    },
};

/// How many sequences run beside each other.
const ABREAST: usize = 12;
const STEPS: usize = 12;
/// The settled state is waited for so long; nothing depends on how long it takes, and a soak has the lowest
/// priority.
const PATIENCE: Duration = Duration::from_secs(300);

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

    /// What is not so of what is known of each service.
    fn wrong(&self, known: impl Fn(&str) -> Option<Service>) -> Option<String> {
        let clear = |id: &&String| !self.unclear.contains(*id);
        for (id, service) in self.there.iter().filter(|(id, _)| clear(id)) {
            match known(id) {
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
            .find(|id| known(id).is_some());
        back.map(|id| format!("{id} is back"))
    }
}

/// Lets the disk of a file fail, at once or some accesses later; how.
fn fail(random: &mut StdRng, file: &Path) -> String {
    let fault = match random.random_bool(0.5) {
        true => Fault::Full,
        false => Fault::Broken,
    };
    let after = random.random_range(0..30);
    faults::of(file).set(fault, after);
    format!("{fault:?} after {after}")
}

/// Cuts a file somewhere; at which byte.
fn cut(random: &mut StdRng, file: &Path) -> u64 {
    let opened = std::fs::File::options().write(true).open(file).unwrap();
    let length = opened.metadata().unwrap().len();
    let at = match random.random_range(0..4) {
        0 => 0,
        _ => random.random_range(0..length.max(1)),
    };
    opened.set_len(at).unwrap();
    at
}

/// Says nothing of panics that are answers.
fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            if !is_answered() {
                usual(panic);
            }
        }));
    });
}

/// Runs one sequence for each seed, some of them beside each other; a long run says now and then how far it
/// has come.
async fn each<F: Future<Output = ()> + Send + 'static>(
    seeds: impl IntoIterator<Item = u64>,
    sequence: impl Fn(u64) -> F,
) {
    hush();
    let mut seeds = seeds.into_iter();
    let (begun, mut done) = (Instant::now(), 0);
    let mut running = JoinSet::new();
    loop {
        while running.len() < ABREAST
            && let Some(seed) = seeds.next()
        {
            running.spawn(sequence(seed));
        }
        match running.join_next().await {
            Some(ended) => ended.unwrap(),
            None => return,
        }
        done += 1;
        if done % 1_000 == 0 {
            println!("{done} sequences in {:.0?}", begun.elapsed());
        }
    }
}

const FEW: Range<u64> = 0..200;
/// Sequences of a shared registry that have shown a fault: an agent that was fenced for good, because an
/// earlier one was heard by a clock that was years ahead.
const FOUND: [u64; 1] = [2_602];
/// Of each kind: ten thousand together.
const MANY: Range<u64> = 1_000..6_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_sequence_of_faults_of_a_shared_registry_what_was_acknowledged_is_so() {
    shared::run(FEW.chain(FOUND)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_sequence_of_faults_of_a_disk_what_was_acknowledged_is_so() {
    own::run(FEW).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a soak of many minutes: cargo xtask soak registry"]
async fn after_five_thousand_sequences_of_faults_of_a_shared_registry_what_was_acknowledged_is_so()
{
    let begun = Instant::now();
    shared::run(MANY).await;
    println!("{MANY:?} of a shared registry in {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a soak of many minutes: cargo xtask soak registry"]
async fn after_five_thousand_sequences_of_faults_of_a_disk_what_was_acknowledged_is_so() {
    let begun = Instant::now();
    own::run(MANY).await;
    println!("{MANY:?} of disks in {:?}", begun.elapsed());
}
