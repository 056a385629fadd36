//! The embedded engine: one redb file, one writer, every commit synced before it is answered.
//!
//! redb locks its file, so a second agent on the same state is refused here at the latest.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use super::{Contents, Registry, RegistryError};
use crate::model::{Protocol, Service};

/// Service id to its record (JSON).
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
/// IP protocol number and port to the service's id.
const NUMBERS: TableDefinition<'_, (u8, u16), &str> = TableDefinition::new("numbers");
/// IP protocol number and port to the second (since 1970) at which the rest ends.
const RESTING: TableDefinition<'_, (u8, u16), u64> = TableDefinition::new("resting");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const SCHEMA: u64 = 1;

/// The registry in one local file.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedRegistry {
    database: Arc<Database>,
    path: PathBuf,
}

impl EmbeddedRegistry {
    /// Opens or makes the file; refuses one that another process has open.
    pub(crate) fn open(path: &Path) -> Result<Self, RegistryError> {
        let database = Database::create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => RegistryError::InUse(path.to_owned()),
            other => engine(other),
        })?;
        let registry = Self {
            database: Arc::new(database),
            path: path.to_owned(),
        };
        registry.write_now(|transaction| {
            let mut meta = transaction.open_table(META).map_err(engine)?;
            let found = meta
                .get("schema")
                .map_err(engine)?
                .map(|value| value.value());
            if found.is_some_and(|found| found > SCHEMA) {
                let found = found.unwrap_or_default();
                return Err(RegistryError::Schema {
                    path: path.to_owned(),
                    found,
                    known: SCHEMA,
                });
            }
            meta.insert("schema", SCHEMA).map_err(engine)?;
            transaction.open_table(SERVICES).map_err(engine)?;
            transaction.open_table(NUMBERS).map_err(engine)?;
            transaction.open_table(RESTING).map_err(engine)?;
            Ok(())
        })?;
        tracing::info!("opened, {}", registry.describe());
        Ok(registry)
    }

    fn write_now(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(engine)?;
        // An error drops the transaction, which aborts it.
        change(&transaction)?;
        transaction.commit().map_err(engine)
    }

    /// Runs a change where it may block: a commit waits for the disk.
    async fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), RegistryError> + Send + 'static,
    ) -> Result<(), RegistryError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.write_now(change))
            .await
            .map_err(engine)?
    }

    fn load_now(&self) -> Result<Contents, RegistryError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let mut contents = Contents::default();
        for row in transaction
            .open_table(SERVICES)
            .map_err(engine)?
            .iter()
            .map_err(engine)?
        {
            let (_, record) = row.map_err(engine)?;
            contents
                .services
                .push(serde_json::from_slice(record.value()).map_err(engine)?);
        }
        contents
            .services
            .sort_by_key(|service: &Service| (service.created_at, service.port));
        for row in transaction
            .open_table(RESTING)
            .map_err(engine)?
            .iter()
            .map_err(engine)?
        {
            let (key, until) = row.map_err(engine)?;
            let (number, port) = key.value();
            if let Some(protocol) = protocol(number) {
                contents.resting.insert((protocol, port), until.value());
            }
        }
        Ok(contents)
    }
}

impl Registry for EmbeddedRegistry {
    async fn load(&self) -> Result<Contents, RegistryError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.load_now())
            .await
            .map_err(engine)?
    }

    async fn allocate(&self, service: &Service) -> Result<(), RegistryError> {
        let service = service.clone();
        self.write(move |transaction| {
            let mut numbers = transaction.open_table(NUMBERS).map_err(engine)?;
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            for &protocol in service.protocols.each() {
                let key = (number(protocol), service.port);
                let owner = numbers
                    .get(key)
                    .map_err(engine)?
                    .map(|id| id.value().to_owned());
                if owner.is_some_and(|owner| owner != service.id) {
                    return Err(RegistryError::NumberTaken {
                        protocol,
                        port: service.port,
                    });
                }
                numbers.insert(key, service.id.as_str()).map_err(engine)?;
                resting.remove(key).map_err(engine)?;
            }
            put(transaction, &service)
        })
        .await
    }

    async fn update(&self, service: &Service) -> Result<(), RegistryError> {
        let service = service.clone();
        self.write(move |transaction| {
            let known = {
                let services = transaction.open_table(SERVICES).map_err(engine)?;
                services.get(service.id.as_str()).map_err(engine)?.is_some()
            };
            if !known {
                return Err(RegistryError::NoService(service.id));
            }
            put(transaction, &service)
        })
        .await
    }

    async fn release(&self, id: &str, rest_until: u64) -> Result<(), RegistryError> {
        let id = id.to_owned();
        self.write(move |transaction| {
            let mut services = transaction.open_table(SERVICES).map_err(engine)?;
            let Some(record) = services.remove(id.as_str()).map_err(engine)? else {
                return Ok(());
            };
            let service: Service = serde_json::from_slice(record.value()).map_err(engine)?;
            let mut numbers = transaction.open_table(NUMBERS).map_err(engine)?;
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            for &protocol in service.protocols.each() {
                let key = (number(protocol), service.port);
                numbers.remove(key).map_err(engine)?;
                resting.insert(key, rest_until).map_err(engine)?;
            }
            Ok(())
        })
        .await
    }

    async fn end_rests(&self, now: u64) -> Result<(), RegistryError> {
        self.write(move |transaction| {
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            resting.retain(|_, until| until > now).map_err(engine)
        })
        .await
    }

    fn describe(&self) -> String {
        format!("embedded, {}", self.path.display())
    }
}

fn put(transaction: &WriteTransaction, service: &Service) -> Result<(), RegistryError> {
    let record = serde_json::to_vec(service).map_err(engine)?;
    let mut services = transaction.open_table(SERVICES).map_err(engine)?;
    services
        .insert(service.id.as_str(), record.as_slice())
        .map_err(engine)?;
    Ok(())
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

/// IP protocol numbers, as in every other table of Harbor's.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

fn protocol(number: u8) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Protocols, testing::service};

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("harbor.redb");
        (directory, path)
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_there_after_a_reopen() {
        let (_directory, path) = file();
        let mut web = service("web", 35_000, Protocols::Both);
        {
            let registry = EmbeddedRegistry::open(&path).unwrap();
            registry.allocate(&web).await.unwrap();
            web.add_backend("10.0.0.1:80".parse().unwrap(), None, 1)
                .unwrap();
            registry.update(&web).await.unwrap();
            registry
                .allocate(&service("old", 35_001, Protocols::Udp))
                .await
                .unwrap();
            registry.release("id-old", 99).await.unwrap();
        }
        let contents = EmbeddedRegistry::open(&path).unwrap().load().await.unwrap();
        assert_eq!(contents.services, [web]);
        assert_eq!(
            contents.resting,
            BTreeMap::from([((Protocol::Udp, 35_001), 99)])
        );
    }

    #[tokio::test]
    async fn a_number_is_taken_once_in_each_protocol() {
        let (_directory, path) = file();
        let registry = EmbeddedRegistry::open(&path).unwrap();
        let web = service("web", 35_000, Protocols::Tcp);
        registry.allocate(&web).await.unwrap();
        registry.allocate(&web).await.unwrap();
        let error = registry
            .allocate(&service("b", 35_000, Protocols::Both))
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            RegistryError::NumberTaken {
                protocol: Protocol::Tcp,
                ..
            }
        ));
        registry
            .allocate(&service("u", 35_000, Protocols::Udp))
            .await
            .unwrap();
        assert_eq!(registry.load().await.unwrap().services.len(), 2);
    }

    #[tokio::test]
    async fn verbs_can_be_repeated() {
        let (_directory, path) = file();
        let registry = EmbeddedRegistry::open(&path).unwrap();
        let web = service("web", 35_000, Protocols::Tcp);
        registry.allocate(&web).await.unwrap();
        registry.release("id-web", 10).await.unwrap();
        registry.release("id-web", 90).await.unwrap();
        assert_eq!(
            registry.load().await.unwrap().resting[&(Protocol::Tcp, 35_000)],
            10
        );
        registry.end_rests(9).await.unwrap();
        assert_eq!(registry.load().await.unwrap().resting.len(), 1);
        registry.end_rests(10).await.unwrap();
        assert!(registry.load().await.unwrap().resting.is_empty());
        let error = registry.update(&web).await.unwrap_err();
        assert!(matches!(error, RegistryError::NoService(_)));
    }

    #[tokio::test]
    async fn a_second_user_of_the_file_is_refused() {
        let (_directory, path) = file();
        let _first = EmbeddedRegistry::open(&path).unwrap();
        let error = EmbeddedRegistry::open(&path).unwrap_err();
        assert!(matches!(error, RegistryError::InUse(_)), "{error}");
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let (_directory, path) = file();
        let registry = EmbeddedRegistry::open(&path).unwrap();
        registry
            .write_now(|transaction| {
                transaction
                    .open_table(META)
                    .unwrap()
                    .insert("schema", 2)
                    .unwrap();
                Ok(())
            })
            .unwrap();
        drop(registry);
        let error = EmbeddedRegistry::open(&path).unwrap_err();
        assert!(
            matches!(error, RegistryError::Schema { found: 2, .. }),
            "{error}"
        );
    }
}
