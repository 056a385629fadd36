//! The second copy of the services: a journal beside the file, written after each change.
//!
//! Nobody waits for it. What could not be written is written later; until then the status says so.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{EmbeddedRegistry, SERVICES, engine, whole};
use crate::{
    model::Service,
    registry::{
        RegistryError,
        file::{changes, count_from},
        journal::{Journal, Looked, Position, everything},
    },
};

/// Services as the registry holds them, and after how many of its changes.
type Rows = (Vec<(String, Option<Service>)>, u64);

/// The journal, and what it lacks.
#[derive(Debug)]
pub(super) struct SecondCopy {
    path: PathBuf,
    /// Or why there is none yet.
    journal: Mutex<Result<Journal, String>>,
    /// Services that have changed since they were copied.
    changed: Mutex<BTreeSet<String>>,
    /// Held while rows are written: the last to write has the latest.
    turn: Mutex<()>,
}

impl SecondCopy {
    pub(super) fn open(path: &Path) -> Self {
        let journal = Journal::open(path).map_err(|error| error.to_string());
        if let Err(error) = &journal {
            tracing::error!("there is no second copy of the registry: {error}");
        }
        Self {
            path: path.to_owned(),
            journal: Mutex::new(journal),
            changed: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    fn journal(&self) -> Result<Journal, String> {
        let journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.clone()
    }

    /// The journal, opened by now if it could not be before, and whether everything is to be written.
    fn look(&self) -> Result<(Journal, Looked), String> {
        if let Ok(journal) = self.journal() {
            let looked = journal.look();
            return Ok((journal, looked));
        }
        let opened = Journal::open(&self.path).map_err(|error| error.to_string());
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.clone_from(&opened);
        opened.map(|journal| (journal, Looked::Begun))
    }

    /// Every service that it holds, as of how many changes.
    pub(super) fn services(&self) -> Result<(Vec<Service>, u64), String> {
        let read = self.journal()?.read(&everything());
        let (services, position) = read.map_err(|error| error.to_string())?;
        Ok((services, position.seq))
    }

    /// Makes it the same as the registry is after so many changes.
    pub(super) fn replace(&self, services: &[Service], changes: u64) {
        if let Ok(journal) = self.journal()
            && let Err(error) = journal.replace(services, &place(changes))
        {
            tracing::error!("the second copy of the registry was not written: {error}");
            let ids = services.iter().map(|service| service.id.clone());
            self.changed().extend(ids);
        }
    }

    /// Why it is not what the registry is.
    pub(super) fn problem(&self) -> Option<String> {
        match self.journal() {
            Ok(journal) => journal.trouble().map(|away| away.reason),
            Err(why) => Some(why),
        }
    }

    fn changed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmbeddedRegistry {
    /// Copies these services, as they are then, without keeping the caller.
    pub(super) fn copy_soon(&self, ids: impl IntoIterator<Item = String>) {
        if let Some(copy) = &self.copy {
            copy.changed().extend(ids);
            let registry = self.clone();
            tokio::task::spawn_blocking(move || registry.copy_now());
        }
    }

    /// Copies what has changed. Blocks.
    pub(super) fn copy_now(&self) {
        let Some(copy) = &self.copy else { return };
        let _turn = copy.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok((journal, looked)) = copy.look() else {
            return;
        };
        if looked == Looked::Begun {
            // Rows of services that are gone go too.
            let held = copy.services().map(|(services, _)| services);
            let all = self.load_now().map(|contents| contents.services);
            let all = all.into_iter().flatten();
            let all = all.chain(held.into_iter().flatten());
            copy.changed().extend(all.map(|service| service.id));
        }
        let ids = std::mem::take(&mut *copy.changed());
        if ids.is_empty() {
            return;
        }
        let rows = self.rows(&ids);
        if rows
            .and_then(|(rows, changes)| journal.write(&rows, &place(changes)))
            .is_err()
        {
            copy.changed().extend(ids);
        }
    }

    fn rows(&self, ids: &BTreeSet<String>) -> Result<Rows, RegistryError> {
        self.file.read(|transaction| {
            let services = transaction.open_table(SERVICES).map_err(engine)?;
            let row = |id: &String| {
                let record = services.get(id.as_str()).map_err(engine)?;
                let service = record.map(|record| serde_json::from_slice(record.value()));
                Ok((id.clone(), service.transpose().map_err(engine)?))
            };
            let rows: Result<_, RegistryError> = ids.iter().map(row).collect();
            Ok((rows?, changes(transaction)?))
        })
    }

    /// Opens the second copy too, and serves from it if the file was made anew. A file that has lost
    /// changes which its copy has, as one that was cut or put back, is put right from the copy.
    pub(super) fn with_copy(mut self, path: &Path) -> Result<Self, RegistryError> {
        let copy = SecondCopy::open(path);
        let found = self.file.read(changes)?;
        if self.is_undecided() {
            // Whether it is new by right nobody can say without the copy.
            let copied = copy.services().map_err(|why| RegistryError::Unopened {
                path: path.to_owned(),
                why,
            });
            let (copied, latest) = copied?;
            self.file
                .write(|transaction| count_from(transaction, latest))?;
            self.hold_services(copied);
        } else {
            let (copied, latest) = copy.services().unwrap_or_default();
            if latest > found {
                tracing::error!(
                    "the registry had lost its last changes ({found} of {latest} are there): put \
                     right from its second copy"
                );
                self.file.write(|transaction| {
                    whole::replace(transaction, &copied)?;
                    count_from(transaction, latest)
                })?;
            }
            copy.replace(&self.load_now()?.services, self.file.read(changes)?);
        }
        self.copy = Some(Arc::new(copy));
        Ok(self)
    }
}

/// Rows of one node's own registry are as of a number of its changes.
fn place(changes: u64) -> Position {
    Position {
        incarnation: "embedded".into(),
        seq: changes,
    }
}
