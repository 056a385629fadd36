//! The second copy of the services: a journal beside the file, written after each change.
//!
//! Nobody waits for it. What could not be written is written later; until then the status says so.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{EmbeddedRegistry, SERVICES, engine};
use crate::{
    model::Service,
    registry::{
        RegistryError,
        journal::{Journal, Position, everything},
    },
};

/// The journal, and what it lacks.
#[derive(Debug)]
pub(super) struct SecondCopy {
    /// Or why there is none.
    journal: Result<Journal, String>,
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
            journal,
            changed: Mutex::default(),
            turn: Mutex::default(),
        }
    }

    /// Every service that it holds; none where it cannot be read.
    pub(super) fn services(&self) -> Vec<Service> {
        let Ok(journal) = &self.journal else {
            return Vec::new();
        };
        match journal.read(&everything()) {
            Ok((services, _)) => services,
            Err(error) => {
                tracing::error!("the second copy of the registry was not read: {error}");
                Vec::new()
            }
        }
    }

    /// Makes it the same as the registry.
    pub(super) fn replace(&self, services: &[Service]) {
        if let Ok(journal) = &self.journal
            && let Err(error) = journal.replace(services, &place())
        {
            tracing::error!("the second copy of the registry was not written: {error}");
            let ids = services.iter().map(|service| service.id.clone());
            self.changed().extend(ids);
        }
    }

    /// Why it is not what the registry is.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.journal {
            Ok(journal) => journal.trouble().map(|away| away.reason),
            Err(why) => Some(why.clone()),
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
        let Ok(journal) = &copy.journal else { return };
        journal.look();
        let _turn = copy.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = std::mem::take(&mut *copy.changed());
        if ids.is_empty() {
            return;
        }
        let rows = self.rows(&ids);
        if rows
            .and_then(|rows| journal.write(&rows, &place()))
            .is_err()
        {
            copy.changed().extend(ids);
        }
    }

    fn rows(
        &self,
        ids: &BTreeSet<String>,
    ) -> Result<Vec<(String, Option<Service>)>, RegistryError> {
        self.file.read(|transaction| {
            let services = transaction.open_table(SERVICES).map_err(engine)?;
            let row = |id: &String| {
                let record = services.get(id.as_str()).map_err(engine)?;
                let service = record.map(|record| serde_json::from_slice(record.value()));
                Ok((id.clone(), service.transpose().map_err(engine)?))
            };
            ids.iter().map(row).collect()
        })
    }

    /// Opens the second copy too, and serves from it if the file was made anew.
    pub(super) fn with_copy(mut self, path: &Path) -> Result<Self, RegistryError> {
        let copy = SecondCopy::open(path);
        let services = self.load_now()?.services;
        match self.is_undecided() {
            true => self.hold_services(copy.services()),
            false => copy.replace(&services),
        }
        self.copy = Some(Arc::new(copy));
        Ok(self)
    }
}

/// Rows of one node's own registry are as of no place in particular.
fn place() -> Position {
    Position {
        incarnation: "embedded".into(),
        seq: 0,
    }
}
