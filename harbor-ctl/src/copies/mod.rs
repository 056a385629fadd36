//! Copies of flows between the nodes of a share, so that connections go on where its addresses move to.
//!
//! Whoever has a share tells the other nodes of its flows: of new ones many times a second (`reader`, from the
//! rings), of those in use every few seconds, and of all when a connection begins. One connection a
//! direction and peer, by TLS with certificates on both ends (`sender`, `receiver`, `wire`).

mod peer;
mod reader;
mod receiver;
mod sender;
mod tls;
mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use crate::{forwarding::Engines, model::CopyTotals};

/// What is told to whom; made anew whenever a pool or a node has changed.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyPlan {
    /// `None`: nothing is told yet.
    pub(crate) engines: Option<Engines>,
    /// Where the nodes of this node's shares listen.
    pub(crate) peers: BTreeMap<String, SocketAddr>,
    /// Public addresses of the shares that this node has, or had a moment ago, and who is told of their flows.
    pub(crate) told: BTreeMap<IpAddr, BTreeSet<String>>,
}

/// Who speaks, and how.
#[derive(Clone, Debug)]
pub(crate) struct CopySettings {
    pub(crate) node: String,
    pub(crate) cluster: String,
    pub(crate) listen: SocketAddr,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
    /// How often new flows are told.
    pub(crate) interval: Duration,
}

/// How it goes, by peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct CopyState(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    sent: BTreeMap<String, Sent>,
    received: BTreeMap<String, Received>,
    /// How many connections peers have made.
    connections: u64,
    /// Why nobody can tell this node anything.
    problem: Option<String>,
}

/// What a peer is told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// Why it is told nothing; `None`: it is connected.
    pub(crate) problem: Option<String>,
    /// It has all flows that there were when the connection began.
    pub(crate) is_full: bool,
    pub(crate) flows: u64,
    /// From when flows were read until the peer had entered them, the last time.
    pub(crate) lag: Duration,
}

/// What a peer has told.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    /// Its latest connection; an earlier one may end after that has begun.
    connection: u64,
    /// It has told everything that there was when the connection began, which still stands.
    pub(crate) is_full: bool,
    pub(crate) flows: u64,
    /// Flows that had no room, port or backend here.
    pub(crate) refused: u64,
}

impl CopyState {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a peer is told; `None`: there is no such peer, or not yet.
    pub(crate) fn sent(&self, peer: &str) -> Option<Sent> {
        self.known().sent.get(peer).cloned()
    }

    /// What a peer has told; `None`: nothing.
    pub(crate) fn received(&self, peer: &str) -> Option<Received> {
        self.known().received.get(peer).cloned()
    }

    /// All peers together.
    pub(crate) fn totals(&self) -> CopyTotals {
        let known = self.known();
        let received = || known.received.values();
        CopyTotals {
            sent: known.sent.values().map(|sent| sent.flows).sum(),
            received: received().map(|received| received.flows).sum(),
            refused: received().map(|received| received.refused).sum(),
            lag: known
                .sent
                .values()
                .map(|sent| sent.lag)
                .max()
                .unwrap_or_default(),
        }
    }

    /// Why nobody can tell this node anything.
    pub(crate) fn problem(&self) -> Option<String> {
        self.known().problem.clone()
    }

    fn note_sent(&self, peer: &str, note: impl FnOnce(&mut Sent)) {
        note(self.known().sent.entry(peer.to_owned()).or_default());
    }

    /// A peer has connected; what it has told before need not be all. Answers the connection's number.
    fn begin(&self, peer: &str) -> u64 {
        let mut known = self.known();
        known.connections += 1;
        let connection = known.connections;
        let received = known.received.entry(peer.to_owned());
        let received = received.or_insert_with(|| Received {
            at: Instant::now(),
            connection,
            is_full: false,
            flows: 0,
            refused: 0,
        });
        (received.connection, received.is_full) = (connection, false);
        connection
    }

    /// A peer has told of so many flows that were entered, and of so many that were not.
    fn note_received(&self, peer: &str, [entered, refused]: [u64; 2]) {
        if let Some(received) = self.known().received.get_mut(peer) {
            received.at = Instant::now();
            received.flows += entered;
            received.refused += refused;
        }
    }

    /// By this connection a peer has told everything, or tells nothing any more.
    fn set_full(&self, peer: &str, connection: u64, is_full: bool) {
        let mut known = self.known();
        let received = known.received.get_mut(peer);
        if let Some(received) = received.filter(|received| received.connection == connection) {
            received.is_full = is_full;
        }
    }

    fn set_problem(&self, problem: Option<String>) {
        let mut known = self.known();
        if known.problem != problem {
            match &problem {
                Some(problem) => tracing::error!("no node can tell of its flows: {problem}"),
                None => tracing::info!("nodes can tell of their flows"),
            }
            known.problem = problem;
        }
    }
}

/// Tells other nodes of flows, and hears of theirs, for ever.
pub(crate) async fn run(settings: CopySettings, plan: watch::Receiver<CopyPlan>, state: CopyState) {
    let settings = Arc::new(settings);
    let listener = receiver::run(Arc::clone(&settings), plan.clone(), state.clone());
    let senders = sender::run(settings, plan, state);
    tokio::join!(listener, senders);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_an_earlier_connection_takes_nothing_from_the_latest() {
        let state = CopyState::default();
        let is_full = || state.received("two").unwrap().is_full;
        let earlier = state.begin("two");
        state.set_full("two", earlier, true);
        assert!(is_full());
        let latest = state.begin("two");
        assert!(!is_full());
        state.set_full("two", earlier, true);
        assert!(!is_full());
        state.set_full("two", latest, true);
        state.set_full("two", earlier, false);
        assert!(is_full());
        state.set_full("two", latest, false);
        assert!(!is_full());
    }
}
