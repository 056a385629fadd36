//! The embedded engine: one redb file, one writer, every commit synced before it is answered.
//!
//! redb locks its file, so a second agent on the same state is refused here at the latest. A journal
//! beside the file ([`copy`]) holds the same services: it is what is left when the file is lost.

mod copy;
mod keep;
mod pools;
mod rows;
pub(super) mod whole;

pub(crate) use keep::moved;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use redb::{ReadableTable, WriteTransaction};
use tokio::sync::mpsc;

use self::{
    copy::SecondCopy,
    keep::Held,
    rows::{APP_HOSTS, META, NUMBERS, RESTING, SERVICES, contents, held, number, number_in, put},
};
use super::{
    Contents, Registry, RegistryError, Rests,
    file::File,
    now,
    watch::{Condition, InKernel, Mended, News},
};
use crate::model::{AppHost, Pool, Pools, Service, Spoken};

const SCHEMA: u64 = 1;

/// The registry in one local file.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedRegistry {
    file: Arc<File>,
    copy: Option<Arc<SecondCopy>>,
    /// It was made anew, or is of an earlier time, where ports exist.
    held: Arc<Mutex<Option<Held>>>,
    mended: Option<Mended>,
    /// Leases are not kept on disk: after a restart every app host has a whole one.
    leases: Arc<Mutex<Leases>>,
}

/// App host to how far it has spoken and when its lease ends; `None`: when it is first asked for.
type Leases = BTreeMap<String, (Spoken, Option<Instant>)>;

impl EmbeddedRegistry {
    /// Opens or makes the file; refuses one that another process has open.
    pub(crate) fn open(path: &Path) -> Result<Self, RegistryError> {
        let registry = Self {
            file: Arc::new(File::open(path)?),
            copy: None,
            held: Arc::default(),
            mended: None,
            leases: Arc::default(),
        };
        registry.prepare()?;
        registry.read_app_hosts()?;
        tracing::info!("opened, {}", registry.describe());
        Ok(registry)
    }

    /// Makes the tables of a new file; what is there already is only looked at, because a disk that
    /// is full keeps nobody from reading.
    fn prepare(&self) -> Result<(), RegistryError> {
        let schema = self
            .file
            .read(|transaction| match transaction.open_table(META) {
                Ok(meta) => number_in(&meta, "schema"),
                Err(_) => Ok(None),
            })?;
        match schema {
            Some(SCHEMA) => Ok(()),
            Some(found) if found > SCHEMA => Err(RegistryError::Schema {
                path: self.file.path().to_owned(),
                found,
                known: SCHEMA,
            }),
            _ => self.file.write(|transaction| {
                let mut meta = transaction.open_table(META).map_err(engine)?;
                meta.insert("schema", SCHEMA).map_err(engine)?;
                transaction.open_table(SERVICES).map_err(engine)?;
                transaction.open_table(NUMBERS).map_err(engine)?;
                transaction.open_table(RESTING).map_err(engine)?;
                transaction.open_table(APP_HOSTS).map_err(engine)?;
                Ok(())
            }),
        }
    }

    /// Runs a change where it may block: a commit waits for the disk.
    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, RegistryError> + Send + 'static,
    ) -> Result<T, RegistryError> {
        let file = Arc::clone(&self.file);
        tokio::task::spawn_blocking(move || file.write(change))
            .await
            .map_err(engine)?
    }

    fn read_app_hosts(&self) -> Result<(), RegistryError> {
        self.file.read(|transaction| {
            let table = transaction.open_table(APP_HOSTS).map_err(engine)?;
            for row in table.iter().map_err(engine)? {
                let (dea, spoken) = row.map_err(engine)?;
                let (epoch, seq) = spoken.value();
                let spoken = Spoken { epoch, seq };
                self.leases().insert(dea.value().to_owned(), (spoken, None));
            }
            Ok(())
        })
    }

    fn leases(&self) -> std::sync::MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load_now(&self) -> Result<Contents, RegistryError> {
        let path = self.file.path();
        let mut contents = self.file.read(|transaction| contents(transaction, path))?;
        if let Some(held) = &*self.held() {
            contents.services.extend(held.services.iter().cloned());
        }
        contents
            .services
            .sort_by_key(|service: &Service| (service.created_at, service.port));
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
        self.gate()?;
        let mut service = service.clone();
        service.revision = 1;
        let id = service.id.clone();
        let done = self.write(move |transaction| {
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
        });
        let recorded = done.await?;
        self.copy_soon([(id, Some(recorded.clone()))]);
        Ok(recorded)
    }

    async fn update(&self, service: &Service) -> Result<Service, RegistryError> {
        self.gate()?;
        let mut service = service.clone();
        let id = service.id.clone();
        let done = self.write(move |transaction| {
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
        });
        let recorded = done.await?;
        self.copy_soon([(id, Some(recorded.clone()))]);
        Ok(recorded)
    }

    async fn release(&self, id: &str, rest: Duration) -> Result<(), RegistryError> {
        self.gate()?;
        let id = id.to_owned();
        let key = id.clone();
        let done = self.write(move |transaction| {
            let id = key;
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
                // One that is over at once tells that the number was given up, should the agent die
                // before the kernel has heard of it.
                let until = now().saturating_add(rest.as_secs());
                resting.insert(key, until).map_err(engine)?;
            }
            Ok(())
        });
        done.await?;
        self.copy_soon([(id, None)]);
        Ok(())
    }

    async fn end_rests(&self) -> Result<(), RegistryError> {
        self.write(move |transaction| {
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            resting.retain(|_, until| until > now()).map_err(engine)
        })
        .await
    }

    async fn limit_rests(&self, latest: u64) -> Result<(), RegistryError> {
        self.write(move |transaction| {
            let mut resting = transaction.open_table(RESTING).map_err(engine)?;
            let mut late = Vec::new();
            for row in resting.iter().map_err(engine)? {
                let (key, until) = row.map_err(engine)?;
                late.extend((until.value() > latest).then(|| key.value()));
            }
            for key in late {
                resting.insert(key, latest).map_err(engine)?;
            }
            Ok(())
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
        let is_new_epoch = {
            let mut leases = self.leases();
            let known = leases.get(dea).map(|(known, _)| known.epoch);
            let entry = leases.entry(dea.to_owned()).or_default();
            let ends = lease.map(|lease| Instant::now() + lease).or(entry.1);
            *entry = (entry.0.max(spoken), ends);
            known != Some(spoken.epoch)
        };
        // A heartbeat alone moves nothing on disk: after a restart its number may be lower, and
        // what an older message could say again is put right by the next digest.
        if lease.is_some() && !is_new_epoch {
            return Ok(());
        }
        let name = dea.to_owned();
        let recorded = self.write(move |transaction| {
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
        });
        match recorded.await {
            // An app host that lives keeps its lease, whatever becomes of the disk.
            Err(RegistryError::Failed(_)) => Ok(()),
            other => other,
        }
    }

    async fn forget_app_host(&self, dea: &str) -> Result<(), RegistryError> {
        self.leases().remove(dea);
        let name = dea.to_owned();
        self.write(move |transaction| {
            let mut table = transaction.open_table(APP_HOSTS).map_err(engine)?;
            table.remove(name.as_str()).map_err(engine)?;
            Ok(())
        })
        .await
    }

    async fn import(&self, services: &[Service]) -> Result<(), RegistryError> {
        let (taken, services) = (services.to_vec(), services.to_vec());
        self.write(move |transaction| whole::import(transaction, &services))
            .await?;
        let row = |service: &Service| (service.id.clone(), Some(service.clone()));
        self.copy_soon(taken.iter().map(row));
        self.take_back(&taken).await
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

    fn follow(&self) -> mpsc::Receiver<News> {
        keep::start(self)
    }

    fn condition(&self) -> Condition {
        self.condition_now()
    }

    fn is_new(&self) -> bool {
        self.is_undecided()
    }

    async fn hold(&self, found: InKernel) -> Result<(), RegistryError> {
        self.compare_with(found).await
    }

    async fn confirm(&self) -> Result<usize, RegistryError> {
        self.decide().await
    }

    fn pools(&self) -> Pools {
        self.pools_now()
    }

    async fn put_pool(&self, pool: &Pool) -> Result<Pool, RegistryError> {
        self.put_pool_now(pool, false).await
    }

    async fn remove_pool(&self, pool: &Pool) -> Result<(), RegistryError> {
        self.put_pool_now(pool, true).await.map(drop)
    }

    fn describe(&self) -> String {
        format!("embedded, {}", self.file.path().display())
    }
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

#[cfg(test)]
mod tests;
