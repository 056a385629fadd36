//! The local journal: this node's last good view of a shared registry, one row a service.
//!
//! It is what an agent starts from while the registry is away, and what puts ports back into one
//! that was emptied. A file that cannot be read is set aside, never repaired.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use redb::{ReadableTable, TableDefinition, TableError};

use super::{RegistryError, file::File, record, watch::Away};
use crate::model::{BackendRule, Pool, Pools, Service};

/// Service id to its record (JSON).
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
/// Service id to when it was created, its number and its last revision, of those that were deleted.
const DELETED: TableDefinition<'_, &str, (u64, u16, u64)> = TableDefinition::new("deleted");
/// `incarnation` and `seq` of the registry that the rows are from, and its pools as they were (JSON).
const PLACE: TableDefinition<'_, &str, &str> = TableDefinition::new("place");

/// Set where a journal was begun, until what the kernel serves was compared with the registry.
const UNDECIDED: &str = "undecided";

/// The incarnation of no registry: rows that a node takes along into the one that it joins.
pub(super) const BROUGHT_ALONG: &str = "none";

/// What is remembered of a service that was deleted, so that it is known when it is there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deleted {
    created_at: u64,
    port: u16,
    revision: u64,
}

impl Deleted {
    pub(super) fn of(service: &Service) -> Self {
        Self {
            created_at: service.created_at,
            port: service.port,
            revision: service.revision,
        }
    }

    /// Whether this is the one that was deleted, as it was then or before, and no new one of its id.
    pub(super) fn was(self, service: &Service) -> bool {
        let is_same = (service.created_at, service.port) == (self.created_at, self.port);
        is_same && service.revision <= self.revision
    }
}

/// How far a registry was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Empty: never in sync with any.
    pub(super) incarnation: String,
    /// Number of the last change.
    pub(super) seq: u64,
}

/// The journal's file; another one after it was spoilt.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<RwLock<Arc<File>>>);

/// What a look at the journal has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Same,
    /// It could not be used any more: another was begun, and everything is to be written.
    Begun,
}

impl Journal {
    /// Opens or makes the file of this cluster's journal. One that may not be opened is left alone.
    pub(super) fn open(path: &Path) -> Result<Self, RegistryError> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(open_or_begin(path)?)))))
    }

    fn file(&self) -> Arc<File> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Since when it cannot be written, and why.
    pub(super) fn trouble(&self) -> Option<Away> {
        self.file().trouble()
    }

    /// Tries again to use a file that could not be used. What it holds is known here too, so one that
    /// was spoilt is set aside. Blocks.
    pub(super) fn look(&self) -> Looked {
        let file = self.file();
        file.look();
        if !file.is_spoilt() {
            return Looked::Same;
        }
        let path = file.path().to_owned();
        match open_or_begin(&path) {
            Ok(fresh) => {
                *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                tracing::error!("the journal {} is written anew", path.display());
                Looked::Begun
            }
            Err(error) => {
                tracing::error!("the journal was not begun anew: {error}");
                Looked::Same
            }
        }
    }

    /// Every good row, and how far it goes.
    pub(super) fn read(
        &self,
        rule: &BackendRule,
    ) -> Result<(Vec<Service>, Position), RegistryError> {
        self.file().read(|transaction| {
            let mut services = Vec::new();
            let table = match transaction.open_table(SERVICES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Default::default()),
                table => table.map_err(engine)?,
            };
            for row in table.iter().map_err(engine)? {
                let (id, bytes) = row.map_err(engine)?;
                match record::read(id.value(), bytes.value(), rule) {
                    Ok(service) => services.push(service),
                    Err(why) => tracing::error!(
                        "a row of the journal {} is skipped: {why}",
                        self.file().path().display()
                    ),
                }
            }
            let place = transaction.open_table(PLACE).map_err(engine)?;
            let text = |key: &str| -> Result<String, RegistryError> {
                let value = place.get(key).map_err(engine)?;
                Ok(value
                    .map(|value| value.value().to_owned())
                    .unwrap_or_default())
            };
            let position = Position {
                incarnation: text("incarnation")?,
                seq: text("seq")?.parse().unwrap_or_default(),
            };
            Ok((services, position))
        })
    }

    /// Every pool, and the number of the last change of one.
    pub(super) fn pools(&self) -> Result<(Pools, u64), RegistryError> {
        self.file().read(|transaction| {
            let place = match transaction.open_table(PLACE) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Default::default()),
                table => table.map_err(engine)?,
            };
            let Some(text) = place.get("pools").map_err(engine)? else {
                return Ok(Default::default());
            };
            let read = serde_json::from_str::<(u64, Vec<Pool>)>(text.value());
            let (seq, pools) = read.unwrap_or_else(|error| {
                tracing::error!("the pools of the journal are skipped: {error}");
                Default::default()
            });
            let is_good = |pool: &Pool| pool.check().is_ok();
            Ok((Pools(pools.into_iter().filter(is_good).collect()), seq))
        })
    }

    /// Writes every pool, synced. Blocks.
    pub(super) fn write_pools(&self, pools: &Pools, seq: u64) -> Result<(), RegistryError> {
        self.file().write(|transaction| {
            let text = serde_json::to_string(&(seq, &pools.0)).map_err(engine)?;
            let mut place = transaction.open_table(PLACE).map_err(engine)?;
            place.insert("pools", text.as_str()).map_err(engine)?;
            Ok(())
        })
    }

    /// Whether it was begun where ports may have been, and nobody has decided whether that is right.
    fn is_undecided(&self) -> Result<bool, RegistryError> {
        self.file().read(|transaction| {
            let place = match transaction.open_table(PLACE) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(false),
                table => table.map_err(engine)?,
            };
            Ok(place.get(UNDECIDED).map_err(engine)?.is_some())
        })
    }

    /// Whether it is undecided now, as one is that was just begun. Blocks.
    pub(super) fn begin_undecided(&self, was_in_sync: bool) -> Result<bool, RegistryError> {
        let is_so = !was_in_sync || self.is_undecided()?;
        // One that takes nothing now is written later, and is no reason not to start.
        if is_so && let Err(error) = self.set_undecided(true) {
            tracing::warn!("the journal does not say that it was begun: {error}");
        }
        Ok(is_so)
    }

    /// Remembers it. Blocks.
    pub(super) fn set_undecided(&self, is_so: bool) -> Result<(), RegistryError> {
        self.file().write(|transaction| {
            let mut place = transaction.open_table(PLACE).map_err(engine)?;
            match is_so {
                true => place.insert(UNDECIDED, "").map(drop),
                false => place.remove(UNDECIDED).map(drop),
            }
            .map_err(engine)
        })
    }

    /// Services that were deleted.
    pub(super) fn deleted(&self) -> Result<Vec<(String, Deleted)>, RegistryError> {
        self.file().read(|transaction| {
            let table = match transaction.open_table(DELETED) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table.map_err(engine)?,
            };
            let row = |row: Result<(redb::AccessGuard<'_, &str>, _), redb::StorageError>| {
                let (id, value): (_, redb::AccessGuard<'_, (u64, u16, u64)>) =
                    row.map_err(engine)?;
                let (created_at, port, revision) = value.value();
                let deleted = Deleted {
                    created_at,
                    port,
                    revision,
                };
                Ok((id.value().to_owned(), deleted))
            };
            table.iter().map_err(engine)?.map(row).collect()
        })
    }

    /// Remembers (`None`: forgets) deleted services, all or nothing. Blocks.
    pub(super) fn bury(&self, rows: &[(String, Option<Deleted>)]) -> Result<(), RegistryError> {
        self.file().write(|transaction| {
            let mut table = transaction.open_table(DELETED).map_err(engine)?;
            for (id, deleted) in rows {
                match deleted {
                    Some(one) => {
                        let row = (one.created_at, one.port, one.revision);
                        table.insert(id.as_str(), row).map_err(engine)?;
                    }
                    None => {
                        table.remove(id.as_str()).map_err(engine)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Makes the rows exactly these services. Blocks.
    pub(super) fn replace(
        &self,
        services: &[Service],
        position: &Position,
    ) -> Result<(), RegistryError> {
        let (held, at) = self.read(&everything())?;
        let held: BTreeMap<&str, &Service> = held.iter().map(|s| (s.id.as_str(), s)).collect();
        let wanted: BTreeMap<&str, &Service> =
            services.iter().map(|s| (s.id.as_str(), s)).collect();
        if held == wanted && at == *position {
            return Ok(());
        }
        let gone = held.keys().filter(|id| !wanted.contains_key(*id));
        let gone = gone.map(|id| ((*id).to_owned(), None));
        let fresh = wanted
            .iter()
            .filter(|(id, service)| held.get(*id) != Some(service));
        let fresh = fresh.map(|(id, service)| ((*id).to_owned(), Some((*service).clone())));
        self.write(&gone.chain(fresh).collect::<Vec<_>>(), position)
    }

    /// Writes rows (`None`: removes) and the position, synced, all or nothing. Blocks.
    pub(super) fn write(
        &self,
        rows: &[(String, Option<Service>)],
        position: &Position,
    ) -> Result<(), RegistryError> {
        self.file().write(|transaction| {
            let mut services = transaction.open_table(SERVICES).map_err(engine)?;
            for (id, service) in rows {
                match service {
                    Some(service) => {
                        let record = serde_json::to_vec(service).map_err(engine)?;
                        services
                            .insert(id.as_str(), record.as_slice())
                            .map_err(engine)?;
                    }
                    None => {
                        services.remove(id.as_str()).map_err(engine)?;
                    }
                }
            }
            let mut place = transaction.open_table(PLACE).map_err(engine)?;
            place
                .insert("incarnation", position.incarnation.as_str())
                .map_err(engine)?;
            place
                .insert("seq", position.seq.to_string().as_str())
                .map_err(engine)?;
            Ok(())
        })
    }
}

/// Opens a file, or makes it; a spoilt one is set aside.
fn open_or_begin(path: &Path) -> Result<File, RegistryError> {
    let why = match File::open(path) {
        Err(RegistryError::Spoilt { why, .. }) => why,
        opened => return opened,
    };
    let aside = free_name(path);
    tracing::error!(
        "the journal {} cannot be read and is set aside as {}: {why}",
        path.display(),
        aside.display()
    );
    std::fs::rename(path, &aside).map_err(engine)?;
    File::open(path)
}

/// A name for a spoilt file that no other one has.
fn free_name(path: &Path) -> PathBuf {
    let first = path.with_extension("unreadable");
    let others = (2..).map(|number: u32| path.with_extension(format!("unreadable-{number}")));
    let mut names = std::iter::once(first).chain(others);
    names
        .find(|name| !name.exists())
        .unwrap_or_else(|| path.with_extension("unreadable"))
}

/// Writes the journal of a node that is about to join: it puts these services into the registry.
pub(crate) fn write(path: &Path, services: &[Service]) -> Result<(), RegistryError> {
    let journal = Journal::open(path)?;
    let rows: Vec<_> = services
        .iter()
        .map(|s| (s.id.clone(), Some(s.clone())))
        .collect();
    // No registry has this incarnation: what is found there counts as one that lost its ports.
    let position = Position {
        incarnation: BROUGHT_ALONG.into(),
        seq: 0,
    };
    journal.write(&rows, &position)
}

/// A rule for what this node has accepted before.
pub(super) fn everything() -> BackendRule {
    BackendRule {
        allowed: vec![
            ipnet::Ipv4Net::default().into(),
            ipnet::Ipv6Net::default().into(),
        ],
        ..BackendRule::default()
    }
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

#[cfg(test)]
mod tests;
