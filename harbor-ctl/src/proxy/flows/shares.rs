//! Who may hold how much of the proxy: a port, a client, and all of them together.
//!
//! A flow is let in before it has a socket of its own, and holds its place by a [`Holding`]. Where
//! others have to end for it, their threads are told; until they have obeyed, what they hold comes out
//! of a part that is kept back. What is kept back serves sockets of numbers as well, so that a port can be
//! made while clients want everything.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use harbor_common::{addr::Ip, verdict::DropReason};

use super::{Book, Home, Newcomer, Rank, Room, eviction::choose};
use crate::{
    model::{Filled, Protocol},
    proxy::{
        ports::socket::Key,
        select::frontend::Frontend,
        settings::ProxySettings,
        worker::{
            descriptors::Ledger,
            mailbox::{Command, Inbox},
            poll::Name,
        },
    },
};

/// A port or a client may hold this many, however small its share.
const LEAST: u64 = 16;
/// Kept back: one part of so many of the limit, and how many at most.
const KEPT_BACK: (u64, u64) = (16, 64);

/// The rooms of the proxy, and who is in.
#[derive(Debug)]
pub(crate) struct Shares {
    ledger: Arc<Ledger>,
    /// The most flows.
    flows: u64,
    /// In hundredths of the whole.
    port: AtomicU64,
    client: AtomicU64,
    book: Mutex<Book>,
    /// The threads, by number.
    inboxes: OnceLock<Vec<Arc<Inbox>>>,
    /// Flows that had to end for others.
    ended: AtomicU64,
}

/// A flow's place; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Holding {
    shares: Arc<Shares>,
    index: u32,
    rank: Option<Rank>,
    descriptors: u64,
}

/// How full a place is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShareReport {
    /// Flows that had to end for others.
    pub(crate) ended: u64,
    /// All flows, the port with most and the client with most, in this order.
    pub(crate) fullest: Vec<Filled>,
    /// What has no room for one more connection, or little: whole, ports, and the first few clients.
    pub(crate) full: Vec<Filled>,
}

impl Shares {
    pub(crate) fn new(settings: &ProxySettings, ledger: Arc<Ledger>) -> Self {
        let shares = Self {
            ledger,
            flows: settings.flows.into(),
            port: AtomicU64::new(0),
            client: AtomicU64::new(0),
            book: Mutex::default(),
            inboxes: OnceLock::new(),
            ended: AtomicU64::new(0),
        };
        shares.set(settings);
        shares
    }

    /// Whom to tell what has to end.
    pub(crate) fn tell(&self, inboxes: Vec<Arc<Inbox>>) {
        // Told once, before any thread runs.
        let _ = self.inboxes.set(inboxes);
    }

    pub(crate) fn set(&self, settings: &ProxySettings) {
        self.port.store(settings.port_share.into(), Relaxed);
        self.client.store(settings.client_share.into(), Relaxed);
    }

    /// Lets a flow in, whose descriptors are to be opened now. Those of its own thread and protocol
    /// that have to end for it are named, and the caller ends them.
    pub(crate) fn enter(
        self: &Arc<Self>,
        frontend: &Frontend,
        client: IpAddr,
        home: Home,
        now: u64,
    ) -> Result<(Holding, Vec<Name>), DropReason> {
        let newcomer = newcomer(frontend, client, home);
        let (index, homes) = {
            let mut book = self.book();
            let room = self.room(&book);
            let victims = choose(&book, &newcomer, &room, now)?;
            book.enter(&newcomer, victims, now)
        };
        let is_here = |other: &Home| (other.worker, other.protocol) == (home.worker, home.protocol);
        let (here, elsewhere): (Vec<Home>, Vec<Home>) = homes.into_iter().partition(is_here);
        for home in elsewhere {
            let inbox = self.inboxes.get().and_then(|all| all.get(home.worker));
            if let Some(inbox) = inbox {
                inbox.put([Command::MakeRoom(home.protocol, home.name)]);
            }
        }
        let holding = Holding {
            shares: Arc::clone(self),
            index,
            rank: Some(newcomer.rank),
            descriptors: newcomer.descriptors,
        };
        Ok((holding, here.into_iter().map(|home| home.name).collect()))
    }

    /// What `enter` would say, without anybody's end.
    pub(crate) fn would_enter(
        &self,
        frontend: &Frontend,
        client: IpAddr,
        now: u64,
    ) -> Result<(), DropReason> {
        let home = Home {
            worker: 0,
            protocol: frontend.key.0,
            name: Name::new(0, 0),
        };
        let book = self.book();
        let room = self.room(&book);
        choose(&book, &newcomer(frontend, client, home), &room, now).map(drop)
    }

    /// How full a port's share of descriptors is.
    pub(crate) fn of_port(&self, key: Key) -> Filled {
        let book = self.book();
        let used = book.port(key).map_or(0, |holder| holder.descriptors);
        of_port(key, used, &self.room(&book))
    }

    pub(crate) fn report(&self) -> ShareReport {
        /// Clients that are named.
        const CLIENTS: usize = 16;
        let book = self.book();
        let room = self.room(&book);
        let whole = Filled::new("all", "flows", book.total(), room.whole);
        let mut ports: Vec<(Key, u64)> = book.ports().collect();
        let mut clients: Vec<(Ip, u64)> = book.clients().collect();
        drop(book);
        ports.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        clients.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        let port = |&(key, used): &(Key, u64)| of_port(key, used, &room);
        let client = |(client, used): &(Ip, u64)| {
            let network = match client.is_v4() {
                true => client.to_string(),
                false => format!("{client}/64"),
            };
            Filled::new("client", &network, *used, room.client)
        };
        let firsts = ports.first().map(port).into_iter();
        let fullest = [whole.clone()].into_iter().chain(firsts);
        let fullest = fullest.chain(clients.first().map(client)).collect();
        let all = [whole].into_iter().chain(ports.iter().map(port));
        let all = all.chain(clients.iter().take(CLIENTS).map(client));
        ShareReport {
            ended: self.ended.load(Relaxed),
            fullest,
            full: all.filter(Filled::is_nearly_full).collect(),
        }
    }

    fn room(&self, book: &Book) -> Room {
        let limit = self.ledger.limit();
        let kept_back = (limit / KEPT_BACK.0).min(KEPT_BACK.1);
        // Sockets of numbers, pipes, and what threads need.
        let others = self.ledger.used().saturating_sub(book.total());
        let whole = limit.saturating_sub(others + kept_back);
        let share = |percent: &AtomicU64| (whole * percent.load(Relaxed) / 100).max(LEAST);
        Room {
            whole,
            port: share(&self.port),
            client: share(&self.client),
            leaving: kept_back,
            is_crowded: book.flows() >= self.flows,
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// What the flow has carried so far lets it end for others, or not.
    pub(crate) fn set_rank(&mut self, rank: Option<Rank>, now: u64) {
        if self.rank != rank {
            self.rank = rank;
            self.shares.book().set_rank(self.index, rank, now);
        }
    }

    /// Whether the flow may have another descriptor.
    pub(crate) fn may_grow(&self) -> bool {
        let book = self.shares.book();
        book.may_grow(self.index, &self.shares.room(&book))
    }

    /// How many descriptors the flow has.
    pub(crate) fn resize(&mut self, descriptors: u64) {
        if self.descriptors != descriptors {
            self.descriptors = descriptors;
            self.shares.book().resize(self.index, descriptors);
        }
    }

    /// The flow ends for another.
    pub(crate) fn count_end(&self) {
        self.shares.ended.fetch_add(1, Relaxed);
    }

    /// The flow was to end for another, and has come into use meanwhile.
    pub(crate) fn stay(&self) {
        self.shares.book().stay(self.index);
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.shares.book().remove(self.index);
    }
}

/// A connection has a socket on either side; a flow of datagrams has one towards its backend.
fn newcomer(frontend: &Frontend, client: IpAddr, home: Home) -> Newcomer {
    let (descriptors, rank) = match frontend.key.0 {
        Protocol::Udp => (1, Rank::Question),
        Protocol::Tcp if frontend.service.ends_tls() => (2, Rank::Handshake),
        Protocol::Tcp => (2, Rank::Unused),
    };
    Newcomer {
        home,
        port: frontend.key,
        client: Ip::from(client).network(),
        descriptors,
        rank,
    }
}

fn of_port((protocol, port): Key, used: u64, room: &Room) -> Filled {
    let name = format!("{port}/{protocol}");
    Filled::new("port", &name, used, room.port)
}
