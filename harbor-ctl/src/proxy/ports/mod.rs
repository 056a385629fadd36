//! Which services there are, which sockets they have, and which they lack.
//!
//! A number is held from its allocation: first by a mark of its own, then by its service. Every change
//! becomes orders to the workers. A socket that is given up is closed when the change returns: whoever
//! is next may bind it at once.

pub(super) mod addresses;
pub(super) mod socket;
pub(super) mod socket_store;
pub(super) mod unheld;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::{Arc, mpsc::sync_channel},
    time::Duration,
};

use super::{
    select::frontend::Frontend,
    worker::{
        mailbox::{Command, Inbox},
        shared::Common,
    },
};
use crate::model::{AllDown, Doubt, Protocol, Protocols, Service, Suspect};
use socket::{Key, PortSocket, unheld};
use socket_store::{Keeper, SocketStore};
use unheld::Unheld;

/// How long a worker is waited for; it never waits itself.
const ANSWER: Duration = Duration::from_secs(2);

/// Everything that the proxy was told, and what came of it.
#[derive(Debug)]
pub(super) struct PortTable {
    common: Arc<Common>,
    inboxes: Vec<Arc<Inbox>>,
    services: BTreeMap<String, Arc<Service>>,
    pub(super) frontends: BTreeMap<Key, Arc<Frontend>>,
    /// Numbers that are held for services to come.
    marks: BTreeSet<Key>,
    pub(super) seats: BTreeMap<Key, Arc<PortSocket>>,
    pub(super) unheld: BTreeMap<Key, Unheld>,
    kept: SocketStore,
    all_down: AllDown,
}

/// What the workers are to be told of one change.
#[derive(Default)]
struct News {
    opened: Vec<Arc<PortSocket>>,
    closed: Vec<Key>,
    served: Vec<(Key, Option<Arc<Frontend>>)>,
}

impl PortTable {
    pub(super) fn new(common: Arc<Common>, inboxes: Vec<Arc<Inbox>>) -> Self {
        Self {
            common,
            inboxes,
            services: BTreeMap::new(),
            frontends: BTreeMap::new(),
            marks: BTreeSet::new(),
            seats: BTreeMap::new(),
            unheld: BTreeMap::new(),
            kept: SocketStore::default(),
            all_down: AllDown::default(),
        }
    }

    /// Takes over what an earlier agent has left with a keeper, who is to have what is held from now
    /// on.
    pub(super) fn inherit(
        &mut self,
        keeper: Option<Arc<dyn Keeper>>,
        sockets: Vec<(String, OwnedFd)>,
    ) {
        self.kept = SocketStore::new(keeper, sockets, &self.common.ledger);
    }

    /// Binds a number's sockets, all or none.
    pub(super) fn hold(&mut self, protocols: Protocols, port: u16) -> Result<(), (Key, Unheld)> {
        let mut fresh = Vec::new();
        for key in keys(protocols, port) {
            if !self.seats.contains_key(&key) {
                let seat = self.take(key);
                fresh.push(Arc::new(seat.map_err(|why| (key, why))?));
            }
        }
        let mut news = News::default();
        for seat in fresh {
            self.sit(seat, &mut news);
        }
        for key in keys(protocols, port) {
            if !self.frontends.contains_key(&key) {
                self.marks.insert(key);
            }
        }
        self.tell(news);
        Ok(())
    }

    /// Takes a number's marks away; sockets that no service has are closed.
    pub(super) fn let_go(&mut self, protocols: Protocols, port: u16) {
        let mut news = News::default();
        for key in keys(protocols, port) {
            self.marks.remove(&key);
            if !self.frontends.contains_key(&key) {
                news.closed.push(key);
            }
        }
        self.tell(news);
    }

    /// Serves exactly these services.
    pub(super) fn apply(&mut self, services: Vec<Arc<Service>>, all_down: AllDown) {
        let is_new_rule = self.all_down != all_down;
        self.all_down = all_down;
        let wanted: BTreeSet<&str> = services.iter().map(|service| service.id.as_str()).collect();
        let known = self.services.keys();
        let gone: Vec<String> = known
            .filter(|id| !wanted.contains(id.as_str()))
            .cloned()
            .collect();
        let is_other = |service: &Arc<Service>| {
            is_new_rule
                || self
                    .services
                    .get(&service.id)
                    .is_none_or(|old| old != service)
        };
        let changed = services.into_iter().filter(is_other);
        let changed: Vec<_> = changed
            .map(|service| (service.id.clone(), Some(service)))
            .collect();
        let gone = gone.into_iter().map(|id| (id, None));
        self.change(gone.chain(changed).collect());
        self.kept.end_left();
    }

    /// Serves these services as they are now; those that end come first, because others may have
    /// their numbers.
    pub(super) fn change(&mut self, changes: Vec<(String, Option<Arc<Service>>)>) {
        let mut news = News::default();
        let (ended, others): (Vec<_>, Vec<_>) = changes
            .into_iter()
            .partition(|(_, service)| service.is_none());
        for (id, _) in ended {
            if let Some(old) = self.services.remove(&id) {
                let all = keys(old.protocols, old.port).collect();
                self.abandon(&id, all, &mut news);
            }
        }
        for (id, service) in others {
            if let Some(service) = service {
                self.adopt(id, service, &mut news);
            }
        }
        self.tell(news);
    }

    /// Frontends that are served, all or these.
    pub(super) fn served(&self, which: Option<&[Key]>) -> Vec<&Frontend> {
        match which {
            None => self.frontends.values().map(AsRef::as_ref).collect(),
            Some(keys) => {
                let each = keys.iter().filter_map(|key| self.frontends.get(key));
                each.map(AsRef::as_ref).collect()
            }
        }
    }

    /// Has new flows avoid a backend for this reason, or no longer.
    pub(super) fn eject(&self, suspect: &Suspect, doubt: Option<Doubt>) {
        if let Some(frontend) = self.frontends.get(&(suspect.protocol, suspect.port)) {
            frontend.eject(suspect.address, doubt);
        }
    }

    /// What new connections of a port end their TLS with.
    pub(super) fn set_tls(&mut self, port: u16, config: Option<Arc<rustls::ServerConfig>>) {
        if let Some(frontend) = self.frontends.get(&(Protocol::Tcp, port)) {
            let mut held = frontend.standing.tls.lock();
            *held
                .as_deref_mut()
                .unwrap_or_else(|poisoned| poisoned.get_mut()) = config;
        }
    }

    /// Tries again to bind what services lack; what is held now.
    pub(super) fn retry_unheld(&mut self) -> Vec<Key> {
        let mut news = News::default();
        let lacking: Vec<Key> = self.unheld.keys().copied().collect();
        let mut held = Vec::new();
        for key in lacking {
            self.seek(key, &mut news);
            if self.seats.contains_key(&key) {
                held.push(key);
            }
        }
        self.tell(news);
        held
    }

    /// Forgets everything; sockets close with it, as no worker has them any more.
    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.frontends.clear();
        self.marks.clear();
        self.seats.clear();
        self.unheld.clear();
    }

    fn adopt(&mut self, id: String, service: Arc<Service>, news: &mut News) {
        let now: BTreeSet<Key> = keys(service.protocols, service.port).collect();
        if let Some(old) = self.services.get(&id) {
            let before = keys(old.protocols, old.port);
            let left = before.filter(|key| !now.contains(key)).collect();
            self.abandon(&id, left, news);
        }
        for key in now {
            let mut before = self.frontends.get(&key);
            // The number may have been another service's.
            if let Some(other) = before.take_if(|before| before.service.id != id) {
                other.retire();
            }
            let next = Frontend::of(&service, key, self.all_down, before.map(AsRef::as_ref));
            let next = Arc::new(next);
            self.frontends.insert(key, Arc::clone(&next));
            self.marks.remove(&key);
            if !self.seats.contains_key(&key) {
                self.seek(key, news);
            }
            news.served.push((key, Some(next)));
        }
        self.services.insert(id, service);
    }

    /// These ports are the service's no longer.
    fn abandon(&mut self, id: &str, keys: Vec<Key>, news: &mut News) {
        for key in keys {
            if self
                .frontends
                .get(&key)
                .is_none_or(|there| there.service.id != id)
            {
                continue;
            }
            if let Some(old) = self.frontends.remove(&key) {
                old.retire();
            }
            self.unheld.remove(&key);
            news.served.push((key, None));
            news.closed.push(key);
        }
    }

    fn seek(&mut self, key: Key, news: &mut News) {
        // What the same change gives up is closed when the workers have been told.
        if let Some(at) = news.closed.iter().position(|closed| *closed == key) {
            news.closed.remove(at);
            if self.seats.contains_key(&key) {
                return;
            }
        }
        match self.take(key) {
            Ok(seat) => self.sit(Arc::new(seat), news),
            Err(why) => {
                self.unheld.insert(key, why);
            }
        }
    }

    fn take(&mut self, key: Key) -> Result<PortSocket, Unheld> {
        let (ledger, only) = (&self.common.ledger, &self.common.only);
        if let Some(seat) = self.kept.take(&key) {
            // It may have been another setting's.
            only.restrict(&seat.socket).map_err(unheld)?;
            return Ok(seat);
        }
        if self.seats.len() as u64 >= ledger.seats() {
            return Err(Unheld::Scarce);
        }
        PortSocket::take(key, ledger, only)
    }

    fn sit(&mut self, seat: Arc<PortSocket>, news: &mut News) {
        self.unheld.remove(&seat.key);
        self.seats.insert(seat.key, Arc::clone(&seat));
        self.kept.keep(&seat);
        if let Some(frontend) = self.frontends.get(&seat.key) {
            news.served.push((seat.key, Some(Arc::clone(frontend))));
        }
        news.opened.push(seat);
    }

    /// Tells the workers, and waits until they have let go what is closed.
    fn tell(&mut self, news: News) {
        let closed: Vec<Key> = news
            .closed
            .into_iter()
            .filter(|key| self.gives_up(key))
            .collect();
        let (done, answers) = sync_channel(self.inboxes.len());
        for inbox in &self.inboxes {
            let opened = news
                .opened
                .iter()
                .map(|seat| Command::Open(Arc::clone(seat)));
            let mut orders: Vec<Command> = opened.collect();
            if !news.served.is_empty() {
                orders.push(Command::Serve(news.served.clone()));
            }
            if !closed.is_empty() {
                orders.push(Command::Close(closed.clone(), done.clone()));
            }
            inbox.put(orders);
        }
        if !closed.is_empty() {
            drop(done);
            let answered = self.inboxes.iter().map(|_| answers.recv_timeout(ANSWER));
            if answered.filter(Result::is_ok).count() < self.inboxes.len() {
                tracing::warn!("a thread of the proxy is late to close what is given up");
            }
            self.kept.give_up(&closed);
        }
    }

    /// Forgets a socket that nobody needs; whether there was one.
    fn gives_up(&mut self, key: &Key) -> bool {
        let is_needed = self.frontends.contains_key(key) || self.marks.contains(key);
        !is_needed && self.seats.remove(key).is_some()
    }
}

fn keys(protocols: Protocols, port: u16) -> impl Iterator<Item = Key> {
    protocols
        .each()
        .iter()
        .map(move |protocol| (*protocol, port))
}
