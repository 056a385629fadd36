//! A registry that heals itself: a file that failed is tried again, and one that was made anew where
//! ports exist is left as it is until somebody decides.

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use super::{
    EmbeddedRegistry, engine,
    rows::{META, contents, number_in},
};
use crate::{
    model::{Protocol, Service},
    registry::{
        RegistryError,
        watch::{Away, Backends, Condition, Emptied, InKernel, News},
    },
};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Set in a file that was made anew, until it is known whether that was right.
const UNDECIDED: &str = "undecided";

/// What an empty registry does not hold.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// Of the second copy: they are served.
    pub(super) services: Vec<Service>,
    found: InKernel,
    emptied: Arc<Emptied>,
}

impl EmbeddedRegistry {
    /// Opens the agent's own file, with the journal beside it. A file that is missing, or of no
    /// length, is made anew, and is not believed to be empty before that is decided.
    pub(crate) fn open_with_copy(path: &Path, journal: &Path) -> Result<Self, RegistryError> {
        let is_new = fs::metadata(path).map_or(true, |found| found.len() == 0);
        let registry = Self::open(path)?;
        if is_new {
            registry.file.write(|transaction| {
                let mut meta = transaction.open_table(META).map_err(engine)?;
                meta.insert(UNDECIDED, 1).map_err(engine)?;
                Ok(())
            })?;
        }
        registry.with_copy(journal)
    }

    /// Whether the file was made anew, and nobody has decided whether that is right.
    pub(super) fn is_undecided(&self) -> bool {
        let asked = self.file.read(|transaction| {
            let meta = transaction.open_table(META).map_err(engine)?;
            Ok(number_in(&meta, UNDECIDED)?.is_some())
        });
        asked.unwrap_or(false)
    }

    /// Serves these services though the file does not hold them.
    pub(super) fn hold_services(&self, services: Vec<Service>) -> Result<(), RegistryError> {
        let held = self.weigh(services, InKernel::default())?;
        *self.held() = held;
        Ok(())
    }

    /// Holds the file, and what is held beside it, against what the kernel serves.
    pub(super) async fn compare_with(&self, found: InKernel) -> Result<(), RegistryError> {
        let services = self.held().as_ref().map(|held| held.services.clone());
        let held = self.weigh(services.unwrap_or_default(), found)?;
        if let Some(held) = &held {
            let emptied = &held.emptied;
            tracing::error!("{emptied}: they stay until it is decided what is to become of them");
        }
        let is_right = held.is_none();
        *self.held() = held;
        match is_right && self.is_undecided() {
            true => self.decide().await.map(drop),
            false => Ok(()),
        }
    }

    /// What the file does not hold: of the services of the second copy, and of what the kernel serves.
    fn weigh(
        &self,
        mut services: Vec<Service>,
        found: InKernel,
    ) -> Result<Option<Held>, RegistryError> {
        let path = self.file.path();
        let contents = self.file.read(|transaction| contents(transaction, path))?;
        services.retain(|one| !is_replaced(one, &contents.services));
        let in_file = halves(&contents.services);
        let of_services = halves(&services);
        let lacking: BTreeSet<_> = found.served.difference(&in_file).copied().collect();
        let unnamed: BTreeSet<_> = lacking.difference(&of_services).copied().collect();
        let ports = numbers(unnamed.union(&of_services));
        let backends_of = |half: &(Protocol, u16)| match found.backends.get(half) {
            Some(found) => found.clone(),
            None => addresses(&services, *half),
        };
        let without = unnamed
            .union(&of_services)
            .filter(|half| !in_file.contains(half));
        let emptied = Emptied {
            ports,
            known_to: found.who_knows(&lacking),
            proxied: found.proxied.clone(),
            holds: numbers(&in_file),
            is_new: self.is_undecided(),
            is_shared: false,
            lacking: without.map(|half| (*half, backends_of(half))).collect(),
            moved: moved(&found.backends, &contents.services),
            unnamed,
            backup: found.backup.clone(),
        };
        Ok((ports > 0).then(|| Held {
            services,
            found,
            emptied: Arc::new(emptied),
        }))
    }

    /// What the file holds is all there is to be; answers how many ports it does not hold.
    pub(super) async fn decide(&self) -> Result<usize, RegistryError> {
        self.write(|transaction| {
            let mut meta = transaction.open_table(META).map_err(engine)?;
            meta.remove(UNDECIDED).map_err(engine)?;
            Ok(())
        })
        .await?;
        let held = self.held().take();
        self.copy_soon(
            held.iter()
                .flat_map(|held| held.services.iter().map(|s| (s.id.clone(), None))),
        );
        Ok(held.map_or(0, |held| held.emptied.ports))
    }

    /// An import has put these services back: what is still missing stays held, and what the kernel serves
    /// without a name is missing until it has one.
    pub(super) async fn take_back(&self, taken: &[Service]) -> Result<(), RegistryError> {
        let Some(held) = self.held().clone() else {
            return Ok(());
        };
        let others = held.services.iter().filter(|one| is_replaced(one, taken));
        let others = others.filter(|one| taken.iter().all(|taken| taken.id != one.id));
        self.copy_soon(others.map(|one| (one.id.clone(), None)));
        match self.weigh(held.services, held.found)? {
            Some(rest) => {
                *self.held() = Some(rest);
                Ok(())
            }
            None => {
                if let Some(held) = &mut *self.held() {
                    held.services.clear();
                }
                self.decide().await.map(drop)
            }
        }
    }

    /// Refuses changes while it is not decided what is to become of what exists.
    pub(super) fn gate(&self) -> Result<(), RegistryError> {
        match &*self.held() {
            Some(held) => Err(RegistryError::Emptied(Arc::clone(&held.emptied))),
            None => Ok(()),
        }
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when the file cannot be used, and why.
    fn trouble(&self) -> Option<Away> {
        let mut away = self.file.trouble()?;
        if self.file.is_spoilt() {
            away.reason
                .push_str("; restart the agent, which says what can be done");
        }
        Some(away)
    }

    pub(super) fn condition_now(&self) -> Condition {
        Condition {
            lapses: self.file.lapses(),
            failed: self.trouble(),
            emptied: self.held().as_ref().map(|held| Arc::clone(&held.emptied)),
            mended: self.mended,
            not_kept: self.copy.as_ref().and_then(|copy| copy.problem()),
            ..Condition::default()
        }
    }
}

/// Whether one of these is it, or has a number of its.
fn is_replaced(one: &Service, by: &[Service]) -> bool {
    let shares = |other: &Service| {
        let mut each = other.protocols.each().iter();
        other.port == one.port && each.any(|&protocol| one.protocols.contains(protocol))
    };
    by.iter().any(|other| other.id == one.id || shares(other))
}

/// The backends behind a number.
fn addresses(services: &[Service], (protocol, port): (Protocol, u16)) -> BTreeSet<SocketAddr> {
    let its = services
        .iter()
        .filter(|one| one.port == port && one.protocols.contains(protocol));
    its.flat_map(|one| &one.backends)
        .map(|backend| backend.address)
        .collect()
}

/// Backends in the kernel that ports of these services do not have.
pub(crate) fn moved(found: &Backends, services: &[Service]) -> Backends {
    let of = halves(services);
    let known = found.iter().filter(|(half, _)| of.contains(half));
    let moved = known.map(|(half, found)| (*half, found - &addresses(services, *half)));
    moved.filter(|(_, gone)| !gone.is_empty()).collect()
}

fn halves(services: &[Service]) -> BTreeSet<(Protocol, u16)> {
    let halves = |service: &Service| -> Vec<(Protocol, u16)> {
        let each = service.protocols.each().iter();
        each.map(|&protocol| (protocol, service.port)).collect()
    };
    services.iter().flat_map(halves).collect()
}

fn numbers<'a>(halves: impl IntoIterator<Item = &'a (Protocol, u16)>) -> usize {
    let numbers: BTreeSet<u16> = halves.into_iter().map(|(_, port)| *port).collect();
    numbers.len()
}

/// Looks after the file for as long as somebody listens, and tells when it fails and when it works
/// again.
pub(super) fn start(registry: &EmbeddedRegistry) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(run(registry.clone(), sender));
    receiver
}

async fn run(registry: EmbeddedRegistry, news: mpsc::Sender<News>) {
    let mut was_failing = false;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = news.closed() => return,
        }
        let looked = registry.clone();
        let look = tokio::task::spawn_blocking(move || {
            looked.file.look();
            looked.copy_now();
        });
        if look.await.is_err() {
            return;
        }
        let is_failing = registry.file.trouble().is_some();
        if is_failing != std::mem::replace(&mut was_failing, is_failing) {
            let told = if is_failing { News::Away } else { News::Back };
            if news.send(told).await.is_err() {
                return;
            }
        }
    }
}
