//! Chooses the backend of a new flow, as the datapath does it (its stage `select`).
//!
//! Families do not matter here: a proxy's connection to a backend is its own. Nobody gets a flow who
//! is ejected while another can take it, and a connection never tries a backend twice.

pub(super) mod backend;
mod backend_set;
pub(super) mod counters;
pub(super) mod frontend;
pub(super) mod limits;

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use harbor_common::{
    addr::Ip,
    rules::turns::{Order, looks},
};

use super::worker::clock::SECOND;
use crate::model::Policy;
use backend::Backend;
use backend_set::BackendSet;
use frontend::Frontend;

/// Clients of one port whose backend is kept.
const KEPT: usize = 65_536;

/// Whether a choice counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    Real,
    /// Nothing is moved on by it.
    Dry,
}

/// What was chosen.
pub(super) struct Chosen {
    pub(super) backend: Arc<Backend>,
    /// Because the client had it before.
    pub(super) is_kept: bool,
}

/// The backend for a client's new flow; `tried` are the numbers of those that have failed it.
pub(super) fn choose(
    frontend: &Frontend,
    client: IpAddr,
    now: u64,
    tried: &[u64],
    choice: Choice,
) -> Option<Chosen> {
    let walk = Walk {
        frontend,
        now,
        tried,
    };
    let keeps = frontend.settings().affinity_s != 0;
    if keeps && let Some(backend) = walk.kept(client) {
        return Some(Chosen {
            backend,
            is_kept: true,
        });
    }
    let backend = match frontend.policy() {
        Policy::RoundRobin => walk.in_turn(walk.next_turn(choice)),
        Policy::SourceHash => walk.in_turn(u64::from(Ip::from(client).mixed())),
        Policy::First => walk.first(choice),
        Policy::LeastFlows => walk.least(),
    }?;
    if keeps && choice == Choice::Real {
        walk.keep(client, &backend);
    }
    Some(Chosen {
        backend,
        is_kept: false,
    })
}

/// Whether somebody else than this backend can take a flow now.
pub(super) fn has_other(frontend: &Frontend, backend: &Backend) -> bool {
    let mut takers = frontend.roster().takers.iter().map(|taker| &taker.backend);
    takers.any(|other| other.number != backend.number && !other.is_ejected())
}

struct Walk<'a> {
    frontend: &'a Frontend,
    now: u64,
    tried: &'a [u64],
}

impl Walk<'_> {
    fn is_tried(&self, backend: &Backend) -> bool {
        self.tried.contains(&backend.number)
    }

    fn is_good(&self, backend: &Backend) -> bool {
        !self.is_tried(backend) && !backend.is_ejected()
    }

    /// The first that is well; if none is, the first that is there and was not tried.
    fn pick<'b>(&self, order: impl Iterator<Item = &'b Arc<Backend>>) -> Option<Arc<Backend>> {
        let mut fallback = None;
        for backend in order {
            if self.is_good(backend) {
                return Some(Arc::clone(backend));
            }
            if fallback.is_none() && !self.is_tried(backend) {
                fallback = Some(backend);
            }
        }
        fallback.cloned()
    }

    fn next_turn(&self, choice: Choice) -> u64 {
        let cursor = &self.frontend.standing.cursor;
        match choice {
            Choice::Real => cursor.fetch_add(1, Relaxed),
            Choice::Dry => cursor.load(Relaxed),
        }
    }

    fn in_turn(&self, turn: u64) -> Option<Arc<Backend>> {
        let BackendSet { takers, turns } = self.frontend.roster();
        let size = if turns.is_empty() {
            takers.len()
        } else {
            turns.len()
        };
        let start = (turn % size.max(1) as u64) as usize;
        let at = |step: usize| {
            let index = (start + step) % size;
            let position = turns
                .get(index)
                .map_or(index, |position| usize::from(*position));
            &takers[position].backend
        };
        let order = match turns.is_empty() {
            true => Order::Registered,
            false => Order::Table,
        };
        let looks = looks(order, size as u32) as usize;
        // The same turn for both engines: suspects' flows are spread over the others.
        let registered = (0..takers.len()).map(|step| {
            let index = (turn % takers.len() as u64) as usize + step;
            &takers[index % takers.len()].backend
        });
        self.pick((0..looks.min(size)).map(at).chain(registered))
    }

    /// The current backend, which is left for good only when it takes no new flows any more: an
    /// instance that comes back does not take its clients back. One that is ejected, or has failed
    /// this flow alone, stays current.
    fn first(&self, choice: Choice) -> Option<Arc<Backend>> {
        let current = &self.frontend.standing.current;
        let number = current.load(Relaxed);
        let order = || {
            self.frontend
                .roster()
                .takers
                .iter()
                .map(|taker| &taker.backend)
        };
        if let Some(backend) = order().find(|backend| backend.number == number) {
            return match self.is_good(backend) {
                true => Some(Arc::clone(backend)),
                false => self.pick(order()),
            };
        }
        let found = self.pick(order())?;
        if choice == Choice::Real && self.is_good(&found) {
            // Who loses the race goes to this backend all the same.
            let _ = current.compare_exchange(number, found.number, Relaxed, Relaxed);
        }
        Some(found)
    }

    /// The backend with the fewest flows for its weight.
    fn least(&self) -> Option<Arc<Backend>> {
        let takers = self.frontend.roster().takers.iter();
        let good = takers.filter(|taker| self.is_good(&taker.backend));
        let load = |backend: &Backend| backend.load.flows.load(Relaxed);
        let fewest = good.min_by(|a, b| {
            let (ours, theirs) = (load(&a.backend), load(&b.backend));
            (ours * u64::from(b.weight)).cmp(&(theirs * u64::from(a.weight)))
        });
        match fewest {
            Some(taker) => Some(Arc::clone(&taker.backend)),
            None => self.pick(
                self.frontend
                    .roster()
                    .takers
                    .iter()
                    .map(|taker| &taker.backend),
            ),
        }
    }

    fn kept(&self, client: IpAddr) -> Option<Arc<Backend>> {
        let kept = &self.frontend.standing.kept;
        let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (number, until) = *kept.get(&client)?;
        let mut takers = self
            .frontend
            .roster()
            .takers
            .iter()
            .map(|taker| &taker.backend);
        let backend = takers.find(|backend| backend.number == number)?;
        (until > self.now && self.is_good(backend)).then(|| Arc::clone(backend))
    }

    fn keep(&self, client: IpAddr, backend: &Backend) {
        let kept = &self.frontend.standing.kept;
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.retain(|_, (_, until)| *until > self.now);
        }
        let until = self.now + u64::from(self.frontend.settings().affinity_s) * SECOND;
        if kept.len() < KEPT || kept.contains_key(&client) {
            kept.insert(client, (backend.number, until));
        }
    }
}
