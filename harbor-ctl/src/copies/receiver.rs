//! Listens for other nodes, and enters the flows that they tell of.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::timeout,
};

use tokio_rustls::server::TlsStream;

use super::{
    CopyPlan, CopySettings, CopyState, tls,
    wire::{self, ACK, COPIES, FULL, HELLO, Hello, VERSION},
};

/// How long a peer has to introduce itself, and may be silent.
const GREETING: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const MOST: usize = 128;
/// Until a listener that failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(
    settings: Arc<CopySettings>,
    plan: watch::Receiver<CopyPlan>,
    state: CopyState,
) {
    loop {
        let error = match TcpListener::bind(settings.listen).await {
            Ok(listener) => {
                state.set_problem(None);
                listen(listener, &settings, &plan, &state).await
            }
            Err(error) => error,
        };
        let text = format!("pool.sync_listen {}: {error}", settings.listen);
        state.set_problem(Some(text));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn listen(
    listener: TcpListener,
    settings: &Arc<CopySettings>,
    plan: &watch::Receiver<CopyPlan>,
    state: &CopyState,
) -> io::Error {
    let turns = Arc::new(Semaphore::new(MOST));
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => return error,
        };
        let Ok(turn) = Arc::clone(&turns).try_acquire_owned() else {
            continue;
        };
        let (settings, plan, state) = (Arc::clone(settings), plan.clone(), state.clone());
        tokio::spawn(async move {
            let _turn = turn;
            if let Err(error) = hear(stream, &settings, &plan, &state).await {
                tracing::debug!(%from, "a node is heard no more: {error}");
            }
        });
    }
}

/// Hears a peer until it falls silent.
async fn hear(
    stream: TcpStream,
    settings: &CopySettings,
    plan: &watch::Receiver<CopyPlan>,
    state: &CopyState,
) -> io::Result<()> {
    let from: SocketAddr = stream.peer_addr()?;
    stream.set_nodelay(true)?;
    let acceptor = tls::acceptor(settings);
    let acceptor = acceptor.inspect_err(|why| state.set_problem(Some(why.clone())));
    let acceptor = acceptor.map_err(io::Error::other)?;
    let mut stream = timeout(GREETING, acceptor.accept(stream)).await??;
    let (kind, payload) = timeout(GREETING, wire::read(&mut stream)).await??;
    let hello: Hello = serde_json::from_slice(&payload)?;
    if kind != HELLO || hello.version != VERSION || hello.cluster != settings.cluster {
        return Err(io::Error::other("it is of another version or cluster"));
    }
    let node = hello.node;
    if !plan.borrow().peers.contains_key(&node) {
        return Err(io::Error::other("it is no node of a share of this one's"));
    }
    tracing::info!(node, %from, "a node tells of its flows");
    state.set_problem(None);
    let connection = state.begin(&node);
    let heard = take(stream, (&node, connection), (plan, state)).await;
    state.set_full(&node, connection, false);
    heard
}

/// Enters what a peer tells of.
async fn take(
    mut stream: TlsStream<TcpStream>,
    (node, connection): (&str, u64),
    (plan, state): (&watch::Receiver<CopyPlan>, &CopyState),
) -> io::Result<()> {
    loop {
        let (kind, payload) = timeout(SILENCE, wire::read(&mut stream)).await??;
        let copies = match kind {
            COPIES | FULL => wire::copies(&payload),
            _ => None,
        };
        let copies = copies.ok_or_else(|| io::Error::other("no frame of flows"))?;
        let told = copies.len();
        let engines = plan.borrow().engines.clone();
        let entered = match engines {
            Some(engines) if told > 0 => engines.adopt(copies).await.map_err(io::Error::other)?,
            _ => 0,
        };
        let refused = told.saturating_sub(entered);
        state.note_received(node, [entered as u64, refused as u64]);
        if kind == FULL {
            state.set_full(node, connection, true);
        }
        wire::write(&mut stream, ACK, &(entered as u64).to_be_bytes()).await?;
    }
}
