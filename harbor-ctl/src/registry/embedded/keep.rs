//! A registry that heals itself: a file that failed is tried again, and one that was made anew where
//! ports exist is left as it is until somebody decides.

use std::{
    fs,
    path::Path,
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use redb::ReadableTable as _;
use tokio::sync::mpsc;

use super::{
    EmbeddedRegistry, engine,
    rows::{META, SERVICES, number_in},
};
use crate::{
    model::Service,
    registry::{
        RegistryError,
        watch::{Away, Condition, Emptied, News},
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
    emptied: Emptied,
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

    /// Whether the file was made anew, holds nothing yet, and nobody has decided whether that is right.
    pub(super) fn is_undecided(&self) -> bool {
        let asked = self.file.read(|transaction| {
            let meta = transaction.open_table(META).map_err(engine)?;
            let services = transaction.open_table(SERVICES).map_err(engine)?;
            let is_empty = services.first().map_err(engine)?.is_none();
            Ok(is_empty && number_in(&meta, UNDECIDED)?.is_some())
        });
        asked.unwrap_or(false)
    }

    /// Serves these services though the file does not hold them.
    pub(super) fn hold_services(&self, services: Vec<Service>) {
        let ports = services.len();
        let known_to = "the journal";
        let emptied = Emptied {
            ports,
            known_to,
            holds: 0,
        };
        *self.held() = (ports > 0).then_some(Held { services, emptied });
    }

    /// Says who knows of ports that the file does not hold.
    pub(super) fn keep_held(&self, emptied: Emptied) {
        tracing::error!("{emptied}: they stay until it is decided what is to become of them");
        let mut held = self.held();
        let services = held.take().map(|held| held.services).unwrap_or_default();
        *held = Some(Held { services, emptied });
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

    /// An import has put these services back: those that are still missing stay held.
    pub(super) async fn take_back(&self, taken: &[Service]) -> Result<(), RegistryError> {
        let is_over = match &mut *self.held() {
            Some(held) => {
                held.services
                    .retain(|one| taken.iter().all(|taken| taken.id != one.id));
                held.emptied.ports = held.services.len();
                held.services.is_empty()
            }
            None => false,
        };
        match is_over {
            true => self.decide().await.map(drop),
            false => Ok(()),
        }
    }

    /// Refuses changes while it is not decided what is to become of what exists.
    pub(super) fn gate(&self) -> Result<(), RegistryError> {
        match &*self.held() {
            Some(held) => Err(RegistryError::Emptied(held.emptied)),
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
            failed: self.trouble(),
            emptied: self.held().as_ref().map(|held| held.emptied),
            mended: self.mended,
            not_kept: self.copy.as_ref().and_then(|copy| copy.problem()),
            ..Condition::default()
        }
    }
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
