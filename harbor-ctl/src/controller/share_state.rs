//! What the controller remembers of shares and of copies of flows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{
    api::PoolItem,
    copies::{CopyPlan, CopyState},
    model::OwnShare,
    registry::Claim,
};

/// Whether this node may have each share, or why not: read without the controller, which may be waiting for a
/// registry that does not answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readiness(Arc<RwLock<BTreeMap<String, Option<String>>>>);

impl Readiness {
    pub(super) fn set(&self, all: BTreeMap<String, Option<String>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// `None`: there is no such share of this node's.
    pub(super) fn get(&self, id: &str) -> Option<Option<String>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(id).cloned()
    }
}

/// What this node knows and has said of shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Those that the kernel was told of last, and how long they are held.
    pub(super) told: Option<(Vec<OwnShare>, Duration)>,
    /// What was said last of those that this node may have.
    pub(super) said: Vec<(String, Claim)>,
    /// Pools as they were seen last.
    pub(super) seen: Vec<PoolItem>,
    /// How often one has come to this node.
    pub(super) arrivals: u64,
    pub(super) readiness: Readiness,
    /// Those of whose flows this node lacked some when it looked last.
    pub(super) lacking: BTreeSet<String>,
}

/// What is told to whom of flows, and how that goes.
#[derive(Debug, Default)]
pub(super) struct Copying {
    pub(super) plan: watch::Sender<CopyPlan>,
    pub(super) state: CopyState,
    /// Where the other nodes listen, as it was known last.
    pub(super) peers: BTreeMap<String, SocketAddr>,
    /// When this node had each share last.
    pub(super) had: BTreeMap<String, Instant>,
}
