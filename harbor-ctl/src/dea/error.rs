//! Why an instance was not run.

use std::ffi::OsString;

/// Why an instance was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeaError {
    #[error("no number from {first} upwards is free on this host for {service}")]
    NoPort { service: String, first: u16 },
    #[error("cannot run {command:?}: {source}")]
    Start {
        command: OsString,
        source: std::io::Error,
    },
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
