//! The events of an agent: the last ones are kept, each with a number of its own, in memory and in a
//! record that outlives the agent.
//!
//! Readers fetch what they have not read yet when they are ready for it; whoever tells of an event
//! never waits for a reader. One that is too slow, or comes back too late, is told of the gap. A record
//! that cannot be written holds up nothing either: it is written when it can be again.

use std::{
    collections::VecDeque,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::local_time::local;
use crate::{
    http::requester,
    model::{Event, EventKind, Happening, Subject},
};

/// How many events are kept.
pub(super) const KEPT: usize = 8_192;
/// How many are fetched at once.
const BATCH: usize = 64;
/// How many streams there are at once; each has at most a batch and what its connection holds.
pub(super) const STREAMS: usize = 256;
/// Numbers begin where the seconds since 1970 say, so that they go on after a restart.
const PER_SECOND: u32 = 20;

/// Where events are written down.
pub(crate) trait Record: fmt::Debug + Send {
    /// Writes down the last `fresh` of the events that are kept; the others it has already.
    fn write(&mut self, kept: &VecDeque<Event>, fresh: usize) -> io::Result<()>;
}

/// A handle to the events.
#[derive(Clone, Debug)]
pub(crate) struct EventLog(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    ring: Mutex<Ring>,
    news: watch::Sender<News>,
    /// Of streams.
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Ring {
    kept: VecDeque<Event>,
    next: u64,
    record: Option<Box<dyn Record>>,
    /// How many of the last events the record does not have yet.
    unwritten: usize,
    /// Why it does not.
    problem: Option<String>,
}

impl Ring {
    fn push(&mut self, event: Event) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(event);
        self.unwritten = (self.unwritten + 1).min(self.kept.len());
        self.write();
    }

    fn write(&mut self) {
        let Some(record) = self.record.as_mut().filter(|_| self.unwritten > 0) else {
            return;
        };
        match record.write(&self.kept, self.unwritten) {
            Ok(()) => {
                self.unwritten = 0;
                if self.problem.take().is_some() {
                    tracing::info!("events are written down again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if self.problem.as_ref() != Some(&text) {
                    tracing::error!("events are not written down: {text}");
                }
                self.problem = Some(text);
            }
        }
    }
}

/// The number of the newest event, and whether it is the last.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    newest: u64,
    pub(super) is_over: bool,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let next = seconds() << PER_SECOND;
        let (news, _) = watch::channel(News {
            newest: next - 1,
            is_over: false,
        });
        let ring = Mutex::new(Ring {
            kept: VecDeque::new(),
            next,
            record: None,
            unwritten: 0,
            problem: None,
        });
        let places = Arc::new(Semaphore::new(STREAMS));
        Self(Arc::new(Shared { ring, news, places }))
    }

    /// Goes on where the record of an earlier agent ends, and writes to it from now on.
    pub(crate) fn go_on(&self, mut earlier: Vec<Event>, record: Box<dyn Record>) {
        let mut ring = self.ring();
        let last = earlier.last().map_or(0, |event| event.id);
        // Higher than what a clock that was ahead has given, and than what was not written any more.
        ring.next = ring.next.max(last.saturating_add(1));
        let surplus = earlier.len().saturating_sub(KEPT);
        ring.kept = earlier.drain(surplus..).collect();
        ring.record = Some(record);
        let newest = ring.next - 1;
        drop(ring);
        self.0.news.send_modify(|news| news.newest = newest);
    }

    /// Tells of what has happened, and who has asked for it.
    pub(crate) fn tell(&self, happening: Happening) {
        let Happening {
            kind,
            subject,
            text,
            changes,
        } = happening;
        let actor = requester().map(|requester| requester.named());
        let mut ring = self.ring();
        let (id, at) = (ring.next, seconds());
        ring.next += 1;
        ring.push(Event {
            id,
            at,
            time: local(at),
            kind,
            text,
            subject,
            actor,
            changes,
        });
        drop(ring);
        self.0.news.send_modify(|news| news.newest = id);
    }

    /// Writes down what could not be written before.
    pub(crate) fn write_late(&self) {
        self.ring().write();
    }

    /// How many events are kept, and why the last ones are not written down, if they are not.
    pub(crate) fn condition(&self) -> (usize, Option<String>) {
        let ring = self.ring();
        (ring.kept.len(), ring.problem.clone())
    }

    /// Nothing more will happen: readers end.
    pub(crate) fn close(&self) {
        self.0.news.send_modify(|news| news.is_over = true);
    }

    /// A place for one more stream, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// The last events that are kept, the newest first.
    pub(crate) fn latest(&self, count: usize, is_meant: impl Fn(&Event) -> bool) -> Vec<Event> {
        let ring = self.ring();
        let meant = ring.kept.iter().rev().filter(|event| is_meant(event));
        meant.take(count).cloned().collect()
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        self.0.news.borrow().newest
    }

    /// The number before the last `count` events that are meant.
    pub(super) fn before_last(&self, count: usize, is_meant: impl Fn(&Event) -> bool) -> u64 {
        let ring = self.ring();
        let meant = ring.kept.iter().rev().filter(|event| is_meant(event));
        let first = meant.take(count).last();
        first.map_or(ring.next, |event| event.id) - 1
    }

    pub(super) fn news(&self) -> watch::Receiver<News> {
        self.0.news.subscribe()
    }

    /// The events after this number, not all at once; 0: from the oldest that is kept.
    pub(super) fn after(&self, id: u64) -> VecDeque<Event> {
        let ring = self.ring();
        let oldest = ring.kept.front().map_or(ring.next, |event| event.id);
        let is_known = id == 0 || (id + 1 >= oldest && id < ring.next);
        let since = if is_known { id } else { 0 };
        let gap = (!is_known).then(|| {
            let at = seconds();
            Event {
                id: oldest - 1,
                at,
                time: local(at),
                kind: EventKind::Gap,
                text: format!("what happened after {id} is not known any more in full"),
                subject: Subject::default(),
                actor: None,
                changes: Vec::new(),
            }
        });
        let place = ring.kept.partition_point(|event| event.id <= since);
        let events = ring.kept.range(place..).take(BATCH).cloned();
        gap.into_iter().chain(events).collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs().max(1))
}
