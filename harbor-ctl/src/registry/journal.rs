//! The local journal: this node's last good view of a shared registry, one row a service.
//!
//! It is what an agent starts from while the registry is away, and what puts ports back into one
//! that was emptied. A file that cannot be read is set aside, never repaired.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{ReadableTable, TableDefinition, TableError};

use super::{Away, RegistryError, file::File, record};
use crate::model::{BackendRule, Service};

/// Service id to its record (JSON).
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
/// `incarnation` and `seq` of the registry that the rows are from.
const PLACE: TableDefinition<'_, &str, &str> = TableDefinition::new("place");

/// The incarnation of no registry: rows that a node takes along into the one that it joins.
pub(super) const BROUGHT_ALONG: &str = "none";

/// How far a registry was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Empty: never in sync with any.
    pub(super) incarnation: String,
    /// Number of the last change.
    pub(super) seq: u64,
}

/// The journal's file.
#[derive(Clone, Debug)]
pub(super) struct Journal(Arc<File>);

impl Journal {
    /// Opens or makes the file of this cluster's journal. One that may not be opened is left alone.
    pub(super) fn open(path: &Path) -> Result<Self, RegistryError> {
        let file = match File::open(path) {
            Err(RegistryError::Spoilt { why, .. }) => {
                let aside = free_name(path);
                tracing::error!(
                    "the journal {} cannot be read and is set aside as {}: {why}",
                    path.display(),
                    aside.display()
                );
                std::fs::rename(path, &aside).map_err(engine)?;
                File::open(path)?
            }
            opened => opened?,
        };
        Ok(Self(Arc::new(file)))
    }

    /// Since when it cannot be written, and why.
    pub(super) fn trouble(&self) -> Option<Away> {
        self.0.trouble()
    }

    /// Tries again to use a file that could not be used.
    pub(super) fn look(&self) {
        self.0.look();
    }

    /// Every good row, and how far it goes.
    pub(super) fn read(
        &self,
        rule: &BackendRule,
    ) -> Result<(Vec<Service>, Position), RegistryError> {
        self.0.read(|transaction| {
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
                        self.0.path().display()
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
        self.0.write(|transaction| {
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
        own: Vec::new(),
        allowed: vec![
            ipnet::Ipv4Net::default().into(),
            ipnet::Ipv6Net::default().into(),
        ],
    }
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;
    use crate::model::{Protocols, testing::service};

    #[test]
    fn rows_come_back_one_by_one_and_a_bad_one_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        let position = Position {
            incarnation: "x".into(),
            seq: 7,
        };
        let (one, two) = (
            service("a", 1, Protocols::Tcp),
            service("b", 2, Protocols::Udp),
        );
        {
            let journal = Journal::open(&path).unwrap();
            let mut bad = service("bad", 3, Protocols::Tcp);
            bad.name = "a\nb".into();
            let rows = [&one, &two, &bad].map(|s| (s.id.clone(), Some(s.clone())));
            journal.write(&rows, &position).unwrap();
            journal.write(&[(two.id.clone(), None)], &position).unwrap();
        }
        let journal = Journal::open(&path).unwrap();
        let found = journal.read(&BackendRule::default()).unwrap();
        assert_eq!(found, (vec![one], position));
    }

    /// Rows that say something wrong: none is taken for a service, none is missed.
    fn skips(rows: u32) {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.redb")).unwrap();
        let good = service("good", 1, Protocols::Both);
        let position = Position::default();
        let first = [(good.id.clone(), Some(good.clone()))];
        journal.write(&first, &position).unwrap();
        let whole = serde_json::to_vec(&good).unwrap();
        let mut random = SmallRng::seed_from_u64(2);
        let spoil = |transaction: &redb::WriteTransaction| {
            let mut table = transaction.open_table(SERVICES).unwrap();
            for number in 0..rows {
                let mut bytes = whole.clone();
                match random.random_range(0..3) {
                    0 => bytes.truncate(random.random_range(0..bytes.len())),
                    // A good record under another's id is no less wrong.
                    1 => {}
                    _ => {
                        let place = random.random_range(0..bytes.len());
                        bytes[place] = random.random_range(0..32);
                    }
                }
                let id = format!("row {number}");
                table.insert(id.as_str(), bytes.as_slice()).unwrap();
            }
            Ok(())
        };
        journal.0.write(spoil).unwrap();
        let (read, _) = journal.read(&BackendRule::default()).unwrap();
        assert_eq!(read, vec![good]);
    }

    #[test]
    fn malformed_rows_are_skipped_and_the_good_ones_found() {
        skips(20_000);
    }

    /// `cargo xtask soak malformed`
    #[test]
    #[ignore = "runs for a minute"]
    fn a_million_malformed_rows_are_skipped() {
        skips(1_000_000);
    }

    /// Files spoilt in many ways are set aside, or read as something that was once written.
    #[test]
    fn a_spoilt_file_never_reads_as_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        let services: Vec<Service> = (1..40)
            .map(|port| service(&format!("s{port}"), port, Protocols::Tcp))
            .collect();
        let position = Position {
            incarnation: "x".into(),
            seq: 7,
        };
        for part in services.chunks(4) {
            let rows: Vec<_> = part
                .iter()
                .map(|s| (s.id.clone(), Some(s.clone())))
                .collect();
            Journal::open(&path)
                .unwrap()
                .write(&rows, &position)
                .unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let mut bytes = whole.clone();
            match random.random_range(0..4) {
                0 => bytes.truncate(random.random_range(0..bytes.len())),
                _ => {
                    for _ in 0..random.random_range(1..200) {
                        let place = random.random_range(0..bytes.len());
                        bytes[place] ^= 1 << random.random_range(0..8);
                    }
                }
            }
            std::fs::write(&path, bytes).unwrap();
            let journal = Journal::open(&path).unwrap();
            let (read, _) = journal.read(&BackendRule::default()).unwrap();
            assert!(read.iter().all(|one| services.contains(one)), "{read:?}");
            journal.write(&[("x".into(), None)], &position).unwrap();
        }
    }

    #[test]
    fn files_that_are_no_journal_are_set_aside_each_under_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        for text in ["no journal at all", "nor is this one"] {
            std::fs::write(&path, text.repeat(1_000)).unwrap();
            let journal = Journal::open(&path).unwrap();
            assert!(journal.read(&BackendRule::default()).unwrap().0.is_empty());
        }
        let aside = |end: &str| std::fs::read(path.with_extension(end)).unwrap();
        assert!(aside("unreadable").starts_with(b"no journal"));
        assert!(aside("unreadable-2").starts_with(b"nor is"));
    }

    /// Root may read everything, but not follow a link to itself.
    #[test]
    fn a_journal_that_cannot_be_opened_is_left_alone_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.redb");
        std::os::unix::fs::symlink(&path, &path).unwrap();
        let error = Journal::open(&path).unwrap_err();
        assert!(matches!(error, RegistryError::Unopened { .. }), "{error}");
        assert!(error.to_string().contains("journal.redb cannot be opened"));
        assert!(path.is_symlink());
    }
}
