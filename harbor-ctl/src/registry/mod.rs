//! Durable state: services, and numbers that rest after their release.
//!
//! A verb returns only when its change would survive a loss of power. Every verb is idempotent:
//! a caller that did not hear the answer asks again. A second engine (Redis) fits the same trait.

mod embedded;

use std::{collections::BTreeMap, future::Future, path::PathBuf};

pub(crate) use embedded::EmbeddedRegistry;

use crate::model::{Protocol, Service};

/// Everything the registry holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// By creation.
    pub(crate) services: Vec<Service>,
    /// Released halves, with the second (since 1970) at which their rest ends.
    pub(crate) resting: BTreeMap<(Protocol, u16), u64>,
}

/// Why the registry did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RegistryError {
    #[error("another agent uses the registry {0}")]
    InUse(PathBuf),
    #[error("the registry {path} has schema {found}; this version reads schema {known}")]
    Schema {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("port {port}/{protocol} is assigned to another service")]
    NumberTaken { protocol: Protocol, port: u16 },
    #[error("no service with id {0}")]
    NoService(String),
    #[error("the registry failed: {0}")]
    Engine(Box<dyn std::error::Error + Send + Sync>),
}

/// Durable state, whoever keeps it.
pub(crate) trait Registry: Send + Sync + 'static {
    /// Everything, as of one moment.
    fn load(&self) -> impl Future<Output = Result<Contents, RegistryError>> + Send;

    /// Records a new service and takes its number in all its protocols, or changes nothing.
    /// A resting number stops resting.
    fn allocate(&self, service: &Service)
    -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Replaces what is known about a service; its number and protocols do not change.
    fn update(&self, service: &Service) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Forgets a service; its number rests until that second. Unknown services are no error.
    fn release(
        &self,
        id: &str,
        rest_until: u64,
    ) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Forgets rests that are over by now.
    fn end_rests(&self, now: u64) -> impl Future<Output = Result<(), RegistryError>> + Send;

    /// Engine and place, for `status`.
    fn describe(&self) -> String;
}
