//! The registry as a whole: taken in, copied, and looked over.

use std::{collections::BTreeMap, path::Path};

use redb::{ReadableTable, WriteTransaction};

use super::{
    super::{Contents, RegistryError},
    EmbeddedRegistry, engine,
    rows::{APP_HOSTS, NUMBERS, RESTING, SERVICES, held, number, put, put_pools},
};
use crate::model::{Service, Spoken};

impl EmbeddedRegistry {
    /// Whether every service has its numbers, and every number its service.
    pub(super) fn audit_now(&self) -> Result<Vec<String>, RegistryError> {
        let mut wanted = BTreeMap::new();
        for service in self.load_now()?.services {
            for &protocol in service.protocols.each() {
                wanted.insert((number(protocol), service.port), service.id.clone());
            }
        }
        let mut differences = Vec::new();
        self.file.read(|transaction| {
            let numbers = transaction.open_table(NUMBERS).map_err(engine)?;
            for row in numbers.iter().map_err(engine)? {
                let (key, owner) = row.map_err(engine)?;
                let (_, port) = key.value();
                match wanted.remove(&key.value()) {
                    Some(id) if id == owner.value() => {}
                    _ => differences.push(format!("number {port} belongs to no service")),
                }
            }
            Ok(())
        })?;
        let without = wanted
            .iter()
            .map(|((_, port), id)| format!("service {id} lacks number {port}"));
        differences.extend(without);
        Ok(differences)
    }

    /// Copies every row into a new file, as of one moment.
    pub(super) fn backup_now(&self, to: &Path) -> Result<(), RegistryError> {
        let contents = self.load_now()?;
        let leases = self.leases();
        let spoken = leases
            .iter()
            .map(|(dea, (spoken, _))| (dea.clone(), *spoken));
        let spoken: Vec<(String, Spoken)> = spoken.collect();
        drop(leases);
        write_copy(to, &contents, &spoken)
    }
}

/// Makes a file of this engine's that holds all of this.
pub(in crate::registry) fn write_copy(
    to: &Path,
    contents: &Contents,
    app_hosts: &[(String, Spoken)],
) -> Result<(), RegistryError> {
    EmbeddedRegistry::open(to)?.file.write(|transaction| {
        import(transaction, &contents.services)?;
        put_pools(transaction, &contents.pools)?;
        let mut resting = transaction.open_table(RESTING).map_err(engine)?;
        for ((protocol, port), until) in &contents.resting {
            let key = (number(*protocol), *port);
            resting.insert(key, until).map_err(engine)?;
        }
        let mut table = transaction.open_table(APP_HOSTS).map_err(engine)?;
        for (dea, spoken) in app_hosts {
            let row = (spoken.epoch, spoken.seq);
            table.insert(dea.as_str(), row).map_err(engine)?;
        }
        Ok(())
    })
}

/// Makes the services exactly these, with their numbers; the copy that they are from is newer.
pub(super) fn replace(
    transaction: &WriteTransaction,
    services: &[Service],
) -> Result<(), RegistryError> {
    let mut table = transaction.open_table(SERVICES).map_err(engine)?;
    table.retain(|_, _| false).map_err(engine)?;
    drop(table);
    let mut numbers = transaction.open_table(NUMBERS).map_err(engine)?;
    numbers.retain(|_, _| false).map_err(engine)?;
    drop(numbers);
    import(transaction, services)
}

/// Places services with their numbers; what cannot be placed ends the transaction.
pub(super) fn import(
    transaction: &WriteTransaction,
    services: &[Service],
) -> Result<(), RegistryError> {
    let mut failed = Vec::new();
    for service in services {
        if let Some(held) = held(transaction, &service.id)? {
            if held != *service {
                failed.push((service.id.clone(), "its service exists".to_owned()));
            }
            continue;
        }
        let mut numbers = transaction.open_table(NUMBERS).map_err(engine)?;
        let mut resting = transaction.open_table(RESTING).map_err(engine)?;
        for &protocol in service.protocols.each() {
            let key = (number(protocol), service.port);
            let owner = numbers.insert(key, service.id.as_str()).map_err(engine)?;
            if owner.is_some_and(|owner| owner.value() != service.id) {
                let port = service.port;
                let text = format!("port {port}/{protocol} is assigned to another service");
                failed.push((service.id.clone(), text));
            }
            resting.remove(key).map_err(engine)?;
        }
        put(transaction, service)?;
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(RegistryError::NotPlaced(failed)),
    }
}
