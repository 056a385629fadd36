//! Connects to the other nodes of this node's shares, and tells them of flows.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustls::pki_types::ServerName;
use tokio::{
    io::{ReadHalf, WriteHalf},
    net::TcpStream,
    sync::{mpsc, watch},
    time::timeout,
};

use super::{
    CopyPlan, CopySettings, CopyState,
    peer::{Batch, Peer, Peers},
    reader, tls,
    wire::{self, ACK, COPIES, FULL, HELLO, Hello, VERSION},
};

/// How long a connection may take, and an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Until a connection that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How often a sender that has nothing to tell says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Batches that wait for a peer; behind them it is told everything anew.
const WAITING: usize = 64;
/// Frames that a peer may have to answer: more than are told in the time that an answer may take.
const UNANSWERED: usize = 1_024;

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

pub(super) async fn run(
    settings: Arc<CopySettings>,
    mut plan: watch::Receiver<CopyPlan>,
    state: CopyState,
) {
    let mut peers = Peers::new();
    let mut reader = reader::Reader::default();
    let mut ticks = tokio::time::interval(settings.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = plan.borrow_and_update().clone();
        follow(&mut peers, &now, (&settings, &state));
        if peers.is_empty() {
            continue;
        }
        // Reading tables blocks.
        let turn = move || {
            reader.turn(&now, &peers);
            (reader, peers)
        };
        match tokio::task::spawn_blocking(turn).await {
            Ok(back) => (reader, peers) = back,
            Err(error) => {
                tracing::error!("flows are told no more: {error}");
                return;
            }
        }
    }
}

/// Begins to tell peers that are new, and ends with those that are gone.
fn follow(peers: &mut Peers, plan: &CopyPlan, (settings, state): (&Arc<CopySettings>, &CopyState)) {
    peers.retain(|node, peer| {
        let stays = plan.peers.get(node) == Some(&peer.address) && !peer.task.is_finished();
        if !stays {
            peer.task.abort();
        }
        stays
    });
    for (node, address) in &plan.peers {
        if peers.contains_key(node) {
            continue;
        }
        let (batches, queue) = mpsc::channel(WAITING);
        let wants_all = Arc::new(AtomicBool::new(false));
        let telling = Telling {
            settings: Arc::clone(settings),
            state: state.clone(),
            node: node.clone(),
            address: *address,
            wants_all: Arc::clone(&wants_all),
        };
        let peer = Peer {
            batches,
            wants_all,
            address: *address,
            task: tokio::spawn(telling.run(queue)),
        };
        peers.insert(node.clone(), peer);
    }
}

/// Tells one peer.
struct Telling {
    settings: Arc<CopySettings>,
    state: CopyState,
    node: String,
    address: SocketAddr,
    wants_all: Arc<AtomicBool>,
}

impl Telling {
    async fn run(self, mut queue: mpsc::Receiver<Batch>) {
        loop {
            let Err(error) = self.connected(&mut queue).await else {
                return;
            };
            let text = error.to_string();
            self.state.note_sent(&self.node, |sent| {
                if sent.problem.as_ref() != Some(&text) {
                    tracing::warn!(node = self.node, "is told of no flows: {text}");
                }
                (sent.problem, sent.is_full) = (Some(text), false);
            });
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Connects and tells, until the connection fails or nobody wants it any more.
    async fn connected(&self, queue: &mut mpsc::Receiver<Batch>) -> io::Result<()> {
        let connector = tls::connector(&self.settings).map_err(io::Error::other)?;
        let name = ServerName::try_from(self.node.clone()).map_err(io::Error::other)?;
        let stream = timeout(PATIENCE, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let mut stream = timeout(PATIENCE, connector.connect(name, stream)).await??;
        let hello = Hello {
            version: VERSION,
            cluster: self.settings.cluster.clone(),
            node: self.settings.node.clone(),
        };
        wire::write(&mut stream, HELLO, &serde_json::to_vec(&hello)?).await?;
        // What waited is of before the connection.
        while queue.try_recv().is_ok() {}
        self.wants_all.store(true, Relaxed);
        self.state.note_sent(&self.node, |sent| sent.problem = None);
        tracing::info!(node = self.node, address = %self.address, "is told of flows");
        let (answers, words) = tokio::io::split(stream);
        let (told, unanswered) = mpsc::channel(UNANSWERED);
        tokio::try_join!(tell(words, queue, told), self.count(answers, unanswered))?;
        Ok(())
    }

    /// Counts what the peer has entered.
    async fn count(
        &self,
        mut answers: ReadHalf<Stream>,
        mut unanswered: mpsc::Receiver<Batch>,
    ) -> io::Result<()> {
        while let Some(told) = unanswered.recv().await {
            let (kind, _) = timeout(PATIENCE, wire::read(&mut answers)).await??;
            if kind != ACK {
                return Err(io::Error::other("no answer to what was told"));
            }
            self.state.note_sent(&self.node, |sent| {
                sent.flows += told.flows as u64;
                if told.flows > 0 {
                    sent.lag = Instant::now().duration_since(told.read_at);
                }
                sent.is_full |= told.is_last_of_all;
            });
        }
        Ok(())
    }
}

/// Tells a peer, without waiting for its answers, until nobody wants it any more. Peers far away are told of new
/// flows as soon as those nearby.
async fn tell(
    mut words: WriteHalf<Stream>,
    queue: &mut mpsc::Receiver<Batch>,
    unanswered: mpsc::Sender<Batch>,
) -> io::Result<()> {
    loop {
        let mut batch = match timeout(BEAT, queue.recv()).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(()),
            Err(_) => Batch::empty(),
        };
        let kind = if batch.is_last_of_all { FULL } else { COPIES };
        let octets = std::mem::take(&mut batch.octets);
        // Whoever counts answers says why it no longer does.
        if unanswered.send(batch).await.is_err() {
            return Ok(());
        }
        timeout(PATIENCE, wire::write(&mut words, kind, &octets)).await??;
    }
}
