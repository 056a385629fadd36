//! The file's tables, and how their rows are encoded.

use std::path::Path;

use redb::{ReadTransaction, ReadableTable, TableDefinition, TableError, WriteTransaction};

use super::engine;
use crate::{
    model::{Pools, Protocol, Service},
    registry::{Contents, RegistryError},
};

/// Service id to its record (JSON).
pub(super) const SERVICES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("services");
/// IP protocol number and port to the service's id.
pub(super) const NUMBERS: TableDefinition<'_, (u8, u16), &str> = TableDefinition::new("numbers");
/// IP protocol number and port to the second (since 1970) at which the rest ends.
pub(super) const RESTING: TableDefinition<'_, (u8, u16), u64> = TableDefinition::new("resting");
/// App host to the epoch and number of its last announcement.
pub(super) const APP_HOSTS: TableDefinition<'_, &str, (u64, u64)> =
    TableDefinition::new("app_hosts");
/// Pool to its record (JSON).
pub(super) const POOLS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("pools");
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Everything that the file holds.
pub(super) fn contents(
    transaction: &ReadTransaction,
    path: &Path,
) -> Result<Contents, RegistryError> {
    let mut contents = Contents::default();
    let services = transaction.open_table(SERVICES).map_err(engine)?;
    for row in services.iter().map_err(engine)? {
        let (id, record) = row.map_err(engine)?;
        let service = serde_json::from_slice(record.value());
        contents.services.push(service.map_err(|error| {
            let id = id.value().escape_default();
            RegistryError::Spoilt {
                path: path.to_owned(),
                why: format!("the record of service {id}: {error}"),
            }
        })?);
    }
    let resting = transaction.open_table(RESTING).map_err(engine)?;
    for row in resting.iter().map_err(engine)? {
        let (key, until) = row.map_err(engine)?;
        let (number, port) = key.value();
        if let Some(protocol) = protocol(number) {
            contents.resting.insert((protocol, port), until.value());
        }
    }
    contents.pools = pools(transaction, path)?;
    Ok(contents)
}

/// Every pool; a file of an earlier version has no table of them.
fn pools(transaction: &ReadTransaction, path: &Path) -> Result<Pools, RegistryError> {
    let table = match transaction.open_table(POOLS) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Pools::default()),
        table => table.map_err(engine)?,
    };
    let mut pools = Pools::default();
    for row in table.iter().map_err(engine)? {
        let (name, record) = row.map_err(engine)?;
        let pool = serde_json::from_slice(record.value());
        pools.0.push(pool.map_err(|error| RegistryError::Spoilt {
            path: path.to_owned(),
            why: format!(
                "the record of pool {}: {error}",
                name.value().escape_default()
            ),
        })?);
    }
    Ok(pools)
}

/// A number that the file says about itself.
pub(super) fn number_in(
    meta: &impl ReadableTable<&'static str, u64>,
    key: &str,
) -> Result<Option<u64>, RegistryError> {
    let value = meta.get(key).map_err(engine)?;
    Ok(value.map(|value| value.value()))
}

/// The record of a service, if there is one.
pub(super) fn held(
    transaction: &WriteTransaction,
    id: &str,
) -> Result<Option<Service>, RegistryError> {
    let services = transaction.open_table(SERVICES).map_err(engine)?;
    let record = services.get(id).map_err(engine)?;
    let record = record.map(|record| serde_json::from_slice::<Service>(record.value()));
    record.transpose().map_err(engine)
}

pub(super) fn put(transaction: &WriteTransaction, service: &Service) -> Result<(), RegistryError> {
    let record = serde_json::to_vec(service).map_err(engine)?;
    let mut services = transaction.open_table(SERVICES).map_err(engine)?;
    services
        .insert(service.id.as_str(), record.as_slice())
        .map_err(engine)?;
    Ok(())
}

/// Writes pools as they are.
pub(super) fn put_pools(
    transaction: &WriteTransaction,
    pools: &Pools,
) -> Result<(), RegistryError> {
    let mut table = transaction.open_table(POOLS).map_err(engine)?;
    for pool in &pools.0 {
        let record = serde_json::to_vec(pool).map_err(engine)?;
        table
            .insert(pool.name.as_str(), record.as_slice())
            .map_err(engine)?;
    }
    Ok(())
}

/// IP protocol numbers, as in every other table of Harbor's.
pub(super) fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
    }
}

pub(super) fn protocol(number: u8) -> Option<Protocol> {
    match number {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        _ => None,
    }
}
