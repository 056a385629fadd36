//! What is handed from who reads flows to who tells a peer of them.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use tokio::{sync::mpsc, task::JoinHandle};

/// Flows for a peer, as they travel.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) octets: Vec<u8>,
    pub(super) flows: usize,
    pub(super) read_at: Instant,
    /// With it the peer has everything.
    pub(super) is_last_of_all: bool,
}

impl Batch {
    /// It says only that the sender lives.
    pub(super) fn empty() -> Self {
        Self {
            octets: Vec::new(),
            flows: 0,
            read_at: Instant::now(),
            is_last_of_all: false,
        }
    }
}

/// A peer, for who reads flows.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) batches: mpsc::Sender<Batch>,
    /// It is to be told of all flows.
    pub(super) wants_all: Arc<AtomicBool>,
    pub(super) address: SocketAddr,
    /// Who tells it.
    pub(super) task: JoinHandle<()>,
}

/// The peers that there are now.
pub(super) type Peers = BTreeMap<String, Peer>;
