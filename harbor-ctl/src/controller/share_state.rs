//! What the controller remembers of shares and of copies of flows.

use std::{collections::BTreeMap, net::SocketAddr, time::Instant};

use tokio::sync::watch;

use crate::{
    api::PoolItem,
    copies::{CopyPlan, CopyState},
    model::OwnShare,
    registry::Claim,
};

/// What this node knows and has said of shares.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// Those that the kernel was told of last.
    pub(super) told: Option<Vec<OwnShare>>,
    /// What was said last of those that this node may have.
    pub(super) said: Vec<(String, Claim)>,
    /// Pools as they were seen last.
    pub(super) seen: Vec<PoolItem>,
    /// How often one has come to this node.
    pub(super) arrivals: u64,
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
