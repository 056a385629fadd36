//! The second copy of the services: a journal beside the file, written after each change.
//!
//! Nobody waits for it. What could not be written is written later; until then the status says so.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{EmbeddedRegistry, rows::put_pools, whole};
use crate::{
    model::Service,
    registry::{
        RegistryError,
        file::{changes, count_from},
        journal::{Journal, Looked, Position, everything},
        watch::Mended,
    },
};

/// The journal, and what it lacks.
#[derive(Debug)]
pub(super) struct SecondCopy {
    path: PathBuf,
    /// Or why there is none yet.
    journal: Mutex<Result<Journal, String>>,
    lacks: Mutex<Lacks>,
    /// Held while rows are written: the last to write has the latest.
    turn: Mutex<()>,
}

/// What is not copied yet: as it was acknowledged, for the file may be lost before it is copied.
#[derive(Debug, Default)]
struct Lacks {
    /// Services that have changed; `None`: deleted.
    rows: BTreeMap<String, Option<Service>>,
    /// The pools, from the file.
    pools: bool,
    /// Everything, from the file.
    all: bool,
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
            lacks: Mutex::default(),
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
    fn replace(&self, services: &[Service], changes: u64) -> Result<(), String> {
        let done = self.journal()?.replace(services, &place(changes));
        done.map_err(|error| error.to_string())
    }

    /// Why it is not what the registry is.
    pub(super) fn problem(&self) -> Option<String> {
        match self.journal() {
            Ok(journal) => journal.trouble().map(|away| away.reason),
            Err(why) => Some(why),
        }
    }

    fn lacks(&self) -> MutexGuard<'_, Lacks> {
        self.lacks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EmbeddedRegistry {
    /// Copies these services (`None`: deleted) without keeping the caller.
    pub(super) fn copy_soon(&self, rows: impl IntoIterator<Item = (String, Option<Service>)>) {
        if let Some(copy) = &self.copy {
            copy.lacks().rows.extend(rows);
            let registry = self.clone();
            tokio::task::spawn_blocking(move || registry.copy_now());
        }
    }

    /// Copies the pools without keeping the caller.
    pub(super) fn copy_pools_soon(&self) {
        if let Some(copy) = &self.copy {
            copy.lacks().pools = true;
            self.copy_soon([]);
        }
    }

    /// Copies what is not copied yet. Blocks.
    pub(super) fn copy_now(&self) {
        let Some(copy) = &self.copy else { return };
        let _turn = copy.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok((journal, looked)) = copy.look() else {
            return;
        };
        let changes = self.file.acknowledged();
        let Lacks {
            rows,
            mut pools,
            mut all,
        } = std::mem::take(&mut *copy.lacks());
        all |= looked == Looked::Begun;
        pools |= all;
        let written = match all {
            true => self.copy_all(copy, changes),
            false if rows.is_empty() => Ok(()),
            false => {
                let rows: Vec<_> = rows.clone().into_iter().collect();
                let written = journal.write(&rows, &place(changes));
                written.map_err(|error| error.to_string())
            }
        };
        let written = written.and_then(|()| match pools {
            true => {
                let written = journal.write_pools(&self.pools_now(), 0);
                written.map_err(|error| error.to_string())
            }
            false => Ok(()),
        });
        if written.is_err() {
            let mut lacks = copy.lacks();
            lacks.all |= all;
            lacks.pools |= pools;
            // What was acknowledged since is newer.
            for (id, row) in rows {
                lacks.rows.entry(id).or_insert(row);
            }
        }
    }

    fn copy_all(&self, copy: &SecondCopy, changes: u64) -> Result<(), String> {
        let contents = self.load_now().map_err(|error| error.to_string())?;
        copy.replace(&contents.services, changes)
    }

    /// Puts pools back that the file has lost.
    fn restore_pools(&self, copy: &SecondCopy) -> Result<(), RegistryError> {
        let copied = copy.journal().ok().and_then(|journal| journal.pools().ok());
        let (copied, _) = copied.unwrap_or_default();
        match self.load_now()?.pools.0.is_empty() && !copied.0.is_empty() {
            true => self
                .file
                .write(|transaction| put_pools(transaction, &copied)),
            false => Ok(()),
        }
    }

    /// Opens the second copy too, and serves from it if the file was made anew. A file that has lost
    /// changes which its copy has, as one that was cut or put back, is put right from the copy.
    pub(super) fn with_copy(mut self, path: &Path) -> Result<Self, RegistryError> {
        let copy = SecondCopy::open(path);
        let found = self.file.read(changes)?;
        let copied = copy.services();
        let is_behind = copied.as_ref().is_ok_and(|(_, latest)| *latest > found);
        let has_gone_back = is_behind && !self.load_now()?.services.is_empty();
        if self.is_undecided() && !has_gone_back {
            // Whether it is new by right nobody can say without the copy.
            let copied = copied.map_err(|why| RegistryError::Unopened {
                path: path.to_owned(),
                why,
            });
            let (copied, latest) = copied?;
            self.file
                .write(|transaction| count_from(transaction, latest))?;
            self.hold_services(copied)?;
        } else {
            let (copied, latest) = copied.unwrap_or_default();
            if latest > found {
                tracing::error!(
                    "the registry had lost its last changes ({found} of {latest} are there): put \
                     right from its second copy"
                );
                let before = self.load_now()?.services;
                self.file.write(|transaction| {
                    whole::replace(transaction, &copied)?;
                    count_from(transaction, latest)
                })?;
                self.mended = mended(&before, &copied);
            }
            let services = self.load_now()?.services;
            if let Err(error) = copy.replace(&services, self.file.acknowledged()) {
                tracing::error!("the second copy of the registry was not written: {error}");
                copy.lacks().all = true;
            }
        }
        self.restore_pools(&copy)?;
        self.copy = Some(Arc::new(copy));
        Ok(self)
    }
}

/// What differs between the services that a file had and those that it was to have.
fn mended(before: &[Service], after: &[Service]) -> Option<Mended> {
    let by_id = |all: &[Service]| -> BTreeMap<String, Service> {
        all.iter()
            .map(|one| (one.id.clone(), one.clone()))
            .collect()
    };
    let (before, after) = (by_id(before), by_id(after));
    let other = after
        .iter()
        .filter(|(id, one)| before.get(*id) != Some(one));
    let gone = before.keys().filter(|id| !after.contains_key(*id));
    let mended = Mended {
        put_back: other.count(),
        taken_out: gone.count(),
    };
    (mended.put_back + mended.taken_out > 0).then_some(mended)
}

/// Rows of one node's own registry are as of a number of its changes.
fn place(changes: u64) -> Position {
    Position {
        incarnation: "embedded".into(),
        seq: changes,
    }
}
