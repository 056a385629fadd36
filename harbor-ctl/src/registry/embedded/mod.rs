//! The embedded engine: one redb file, one writer, every commit synced before it is answered.
//!
//! redb locks its file, so a second agent on the same state is refused here at the latest.

pub(super) mod whole;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, TableDefinition,
    WriteTransaction,
};

use super::{Contents, Registry, RegistryError, Rests};
use crate::model::{AppHost, Protocol, Service, Spoken};

/// Service id to its record (JSON).
const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
/// IP protocol number and port to the service's id.
const NUMBERS: TableDefinition<'_, (u8, u16), &str> = TableDefinition::new("numbers");
/// IP protocol number and port to the second (since 1970) at which the rest ends.
const RESTING: TableDefinition<'_, (u8, u16), u64> = TableDefinition::new("resting");
/// App host to the epoch and number of its last announcement.
const APP_HOSTS: TableDefinition<'_, &str, (u64, u64)> = TableDefinition::new("app_hosts");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

const SCHEMA: u64 = 1;

/// The registry in one local file.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedRegistry {
    database: Arc<Database>,
    path: PathBuf,
    /// Leases are not kept on disk: after a restart every app host has a whole one.
    leases: Arc<Mutex<Leases>>,
}

/// App host to how far it has spoken and when its lease ends; `None`: when it is first asked for.
type Leases = BTreeMap<String, (Spoken, Option<Instant>)>;

impl EmbeddedRegistry {
    /// Opens or makes the file; refuses one that another process has open.
    pub(crate) fn open(path: &Path) -> Result<Self, RegistryError> {
        let database = super::files().create(path).map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => RegistryError::InUse(path.to_owned()),
            other => engine(other),
        })?;
        let registry = Self {
            database: Arc::new(database),
            path: path.to_owned(),
            leases: Arc::default(),
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
            transaction.open_table(APP_HOSTS).map_err(engine)?;
            Ok(())
        })?;
        registry.read_app_hosts()?;
        tracing::info!("opened, {}", registry.describe());
        Ok(registry)
    }

    fn write_now<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut transaction = self.database.begin_write().map_err(engine)?;
        transaction
            .set_durability(Durability::Immediate)
            .map_err(engine)?;
        // An error drops the transaction, which aborts it.
        let answer = change(&transaction)?;
        transaction.commit().map_err(engine)?;
        Ok(answer)
    }

    /// Runs a change where it may block: a commit waits for the disk.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.write_now(change))
            .await
            .map_err(engine)?
    }

    fn read_app_hosts(&self) -> Result<(), RegistryError> {
        let transaction = self.database.begin_read().map_err(engine)?;
        let table = transaction.open_table(APP_HOSTS).map_err(engine)?;
        for row in table.iter().map_err(engine)? {
            let (dea, spoken) = row.map_err(engine)?;
            let (epoch, seq) = spoken.value();
            let spoken = Spoken { epoch, seq };
            self.leases().insert(dea.value().to_owned(), (spoken, None));
        }
        Ok(())
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
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
    const IS_SHARED: bool = false;

    async fn load(&self) -> Result<Contents, RegistryError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.load_now())
            .await
            .map_err(engine)?
    }

    async fn allocate(&self, service: &Service, rests: Rests) -> Result<Service, RegistryError> {
        let mut service = service.clone();
        service.revision = 1;
        self.write(move |transaction| {
            if let Some(known) = held(transaction, &service.id)? {
                return Ok(known);
            }
            let mut numbers = transaction.open_table(NUMBERS).map_err(engine)?;
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            for &protocol in service.protocols.each() {
                let key = (number(protocol), service.port);
                let owner = numbers.get(key).map_err(engine)?;
                let is_taken = owner.is_some_and(|owner| owner.value() != service.id);
                let until = resting.get(key).map_err(engine)?.map(|until| until.value());
                let rests = rests == Rests::Respected && until.is_some_and(|until| until > now());
                if is_taken || rests {
                    return Err(RegistryError::NumberTaken {
                        protocol,
                        port: service.port,
                    });
                }
                numbers.insert(key, service.id.as_str()).map_err(engine)?;
                resting.remove(key).map_err(engine)?;
            }
            put(transaction, &service)?;
            Ok(service)
        })
        .await
    }

    async fn update(&self, service: &Service) -> Result<Service, RegistryError> {
        let mut service = service.clone();
        self.write(move |transaction| {
            let Some(held) = held(transaction, &service.id)? else {
                return Err(RegistryError::NoService(service.id));
            };
            let seen = service.revision;
            service.revision = seen + 1;
            if held == service {
                return Ok(service);
            }
            if held.revision != seen {
                return Err(RegistryError::Changed(service.id));
            }
            put(transaction, &service)?;
            Ok(service)
        })
        .await
    }

    async fn release(&self, id: &str, rest: Duration) -> Result<(), RegistryError> {
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
                if !rest.is_zero() {
                    let until = now().saturating_add(rest.as_secs());
                    resting.insert(key, until).map_err(engine)?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn end_rests(&self) -> Result<(), RegistryError> {
        self.write(move |transaction| {
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            resting.retain(|_, until| until > now()).map_err(engine)
        })
        .await
    }

    async fn app_hosts(&self) -> Result<Vec<AppHost>, RegistryError> {
        let moment = Instant::now();
        let host = |(dea, (spoken, ends)): (&String, &(Spoken, Option<Instant>))| AppHost {
            dea: dea.clone(),
            spoken: *spoken,
            lease_left: ends.map(|ends| ends.saturating_duration_since(moment)),
        };
        Ok(self.leases().iter().map(host).collect())
    }

    async fn heard(
        &self,
        dea: &str,
        spoken: Spoken,
        lease: Option<Duration>,
    ) -> Result<(), RegistryError> {
        let (epoch, ends) = {
            let leases = self.leases();
            let known = leases.get(dea);
            (
                known.map(|(known, _)| known.epoch),
                known.and_then(|(_, ends)| *ends),
            )
        };
        // A heartbeat alone moves nothing on disk: after a restart its number may be lower, and
        // what an older message could say again is put right by the next digest.
        if lease.is_none() || epoch != Some(spoken.epoch) {
            let name = dea.to_owned();
            self.write(move |transaction| {
                let mut table = transaction.open_table(APP_HOSTS).map_err(engine)?;
                let held = table
                    .get(name.as_str())
                    .map_err(engine)?
                    .map(|row| row.value());
                if held.is_none_or(|held| held < (spoken.epoch, spoken.seq)) {
                    let row = (spoken.epoch, spoken.seq);
                    table.insert(name.as_str(), row).map_err(engine)?;
                }
                Ok(())
            })
            .await?;
        }
        let ends = lease.map(|lease| Instant::now() + lease).or(ends);
        let mut leases = self.leases();
        let entry = leases.entry(dea.to_owned()).or_default();
        *entry = (entry.0.max(spoken), ends);
        Ok(())
    }

    async fn forget_app_host(&self, dea: &str) -> Result<(), RegistryError> {
        let name = dea.to_owned();
        self.write(move |transaction| {
            let mut table = transaction.open_table(APP_HOSTS).map_err(engine)?;
            table.remove(name.as_str()).map_err(engine)?;
            Ok(())
        })
        .await?;
        self.leases().remove(dea);
        Ok(())
    }

    async fn import(&self, services: &[Service]) -> Result<(), RegistryError> {
        let services = services.to_vec();
        self.write(move |transaction| whole::import(transaction, &services))
            .await
    }

    async fn backup(&self, to: &Path) -> Result<(), RegistryError> {
        let (registry, to) = (self.clone(), to.to_owned());
        tokio::task::spawn_blocking(move || registry.backup_now(&to))
            .await
            .map_err(engine)?
    }

    async fn audit(&self) -> Result<Vec<String>, RegistryError> {
        let registry = self.clone();
        tokio::task::spawn_blocking(move || registry.audit_now())
            .await
            .map_err(engine)?
    }

    fn describe(&self) -> String {
        format!("embedded, {}", self.path.display())
    }
}

/// The record of a service, if there is one.
fn held(transaction: &WriteTransaction, id: &str) -> Result<Option<Service>, RegistryError> {
    let services = transaction.open_table(SERVICES).map_err(engine)?;
    let record = services.get(id).map_err(engine)?;
    let record = record.map(|record| serde_json::from_slice::<Service>(record.value()));
    record.transpose().map_err(engine)
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

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
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
mod tests;
