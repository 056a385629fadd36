//! The state that all handlers share: accounts, sessions, samples, the agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use axum::extract::State;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    accounts::Accounts,
    gate::Gate,
    recent::{Recent, Since},
    samples::Samples,
    sessions::Sessions,
};
use crate::{
    api::StatusReport,
    control::{Answer, FoundBackends, Operations, PortRow},
    http::{Names, Strangers},
};

/// Streams of the console at once, and of one user.
pub(super) const STREAMS: usize = 64;
const STREAMS_OF_ONE: usize = 32;

/// The console itself.
#[derive(Debug)]
pub(super) struct Console<O> {
    pub(super) operations: O,
    pub(super) accounts: Arc<Accounts>,
    pub(super) sessions: Sessions,
    pub(super) gate: Gate,
    pub(super) samples: Samples,
    pub(super) readings: Readings,
    pub(super) streams: Streams,
    pub(super) has_tls: bool,
    /// What it is called.
    pub(super) names: Names,
    pub(super) strangers: Strangers,
    /// Another one after each start of the agent.
    pub(super) start: String,
}

impl<O> Console<O> {
    /// Browsers keep the longer name from whoever has no TLS, and from other hosts of the domain.
    pub(super) fn cookie(&self) -> &'static str {
        match self.has_tls {
            true => "__Host-harbor",
            false => "harbor-console",
        }
    }
}

/// Places for streams: so many in all, and none of a user's keep others out.
#[derive(Debug)]
pub(super) struct Streams {
    all: Arc<Semaphore>,
    /// There are as many as there are accounts.
    by_user: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(STREAMS)),
            by_user: Mutex::default(),
        }
    }
}

impl Streams {
    /// A place for as long as it is held, if there is one for this user.
    pub(super) fn place(&self, user: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let mut by_user = self.by_user.lock().unwrap_or_else(PoisonError::into_inner);
        let own = by_user.entry(user.to_owned());
        let own = own.or_insert_with(|| Arc::new(Semaphore::new(STREAMS_OF_ONE)));
        let own = Arc::clone(own).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some([own, all])
    }
}

/// What costs much where there are many ports.
#[derive(Debug)]
pub(super) struct Readings {
    ports: Recent<Vec<PortRow>>,
    status: Recent<StatusReport>,
    /// Each search is another one: one at a time.
    search: Semaphore,
}

impl Default for Readings {
    fn default() -> Self {
        Self {
            ports: Recent::default(),
            status: Recent::default(),
            search: Semaphore::new(1),
        }
    }
}

impl<O: Operations> Console<O> {
    pub(super) async fn ports(&self, since: Since) -> Answer<Arc<Vec<PortRow>>> {
        let read = self.operations.port_rows();
        self.readings.ports.get(since, read).await
    }

    pub(super) async fn status(&self, since: Since) -> Answer<Arc<StatusReport>> {
        let read = self.operations.status();
        self.readings.status.get(since, read).await
    }

    pub(super) async fn find_backends(&self, text: &str, most: usize) -> Answer<FoundBackends> {
        // It is never closed.
        let _turn = self.readings.search.acquire().await.ok();
        self.operations.find_backends(text.to_owned(), most).await
    }

    /// Gives up what nobody looks at any more.
    pub(super) fn tidy(&self) {
        self.readings.ports.tidy();
        self.readings.status.tidy();
    }
}

pub(super) type ConsoleState<O> = State<Arc<Console<O>>>;
