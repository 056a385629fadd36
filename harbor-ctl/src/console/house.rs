//! What every page of the console has at hand.

use std::sync::Arc;

use axum::extract::State;
use tokio::sync::Semaphore;

use super::{accounts::Accounts, gate::Gate, samples::Samples, sessions::Sessions};
use crate::http::{Names, Strangers};

/// Streams of the console at once.
pub(super) const STREAMS: usize = 64;

/// The console itself.
#[derive(Debug)]
pub(super) struct House<O> {
    pub(super) operations: O,
    pub(super) accounts: Arc<Accounts>,
    pub(super) sessions: Sessions,
    pub(super) gate: Gate,
    pub(super) samples: Samples,
    pub(super) streams: Arc<Semaphore>,
    /// What it is called, where there is no TLS.
    pub(super) names: Option<Names>,
    pub(super) strangers: Strangers,
    /// Another one after each start of the agent.
    pub(super) start: String,
}

impl<O> House<O> {
    pub(super) fn has_tls(&self) -> bool {
        self.names.is_none()
    }

    /// Browsers keep the longer name from whoever has no TLS, and from other hosts of the domain.
    pub(super) fn cookie(&self) -> &'static str {
        match self.has_tls() {
            true => "__Host-harbor",
            false => "harbor-console",
        }
    }
}

pub(super) type Here<O> = State<Arc<House<O>>>;
