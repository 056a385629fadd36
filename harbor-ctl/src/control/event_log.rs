//! The events of an agent: the last ones are kept in memory, each with a number of its own.
//!
//! Readers fetch what they have not read yet when they are ready for it; whoever tells of an event
//! never waits for a reader. One that is too slow, or comes back too late, is told of the gap.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::model::{Event, EventKind, Happening, Subject};

/// How many events are kept.
const KEPT: usize = 8_192;
/// How many are fetched at once.
const BATCH: usize = 64;
/// How many streams there are at once; each has at most a batch and what its connection holds.
pub(super) const STREAMS: usize = 256;
/// Numbers begin where the seconds since 1970 say, so that they go on after a restart.
const PER_SECOND: u32 = 20;

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
}

/// The number of the newest event, and whether it is the last.
#[derive(Clone, Copy, Debug)]
struct News {
    newest: u64,
    is_over: bool,
}

impl EventLog {
    pub(crate) fn new() -> Self {
        let next = seconds() << PER_SECOND;
        let (news, _) = watch::channel(News {
            newest: next - 1,
            is_over: false,
        });
        let kept = VecDeque::new();
        let ring = Mutex::new(Ring { kept, next });
        let places = Arc::new(Semaphore::new(STREAMS));
        Self(Arc::new(Shared { ring, news, places }))
    }

    /// Tells of what has happened.
    pub(crate) fn tell(&self, happening: Happening) {
        let Happening {
            kind,
            subject,
            text,
        } = happening;
        let mut ring = self.ring();
        let id = ring.next;
        ring.next += 1;
        if ring.kept.len() == KEPT {
            ring.kept.pop_front();
        }
        ring.kept.push_back(Event {
            id,
            at: seconds(),
            kind,
            text,
            subject,
        });
        drop(ring);
        self.0.news.send_modify(|news| news.newest = id);
    }

    /// Nothing more will happen: readers end.
    pub(crate) fn close(&self) {
        self.0.news.send_modify(|news| news.is_over = true);
    }

    /// A place for one more stream, if there is one.
    pub(super) fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0.places).try_acquire_owned().ok()
    }

    /// The number of the newest event.
    pub(super) fn newest(&self) -> u64 {
        self.0.news.borrow().newest
    }

    /// The events after this number, not all at once; 0: from the oldest that is kept.
    fn after(&self, id: u64) -> VecDeque<Event> {
        let ring = self.ring();
        let oldest = ring.kept.front().map_or(ring.next, |event| event.id);
        let is_known = id == 0 || (id + 1 >= oldest && id < ring.next);
        let since = if is_known { id } else { 0 };
        let gap = (!is_known).then(|| Event {
            id: oldest - 1,
            at: seconds(),
            kind: EventKind::Gap,
            text: format!("what happened after {id} is not known any more in full"),
            subject: Subject::default(),
        });
        let place = ring.kept.partition_point(|event| event.id <= since);
        let events = ring.kept.range(place..).take(BATCH).cloned();
        gap.into_iter().chain(events).collect()
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.0.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads events one by one.
#[derive(Debug)]
pub(super) struct Reader {
    log: EventLog,
    news: watch::Receiver<News>,
    /// The number of the last event that was read.
    last: u64,
    fetched: VecDeque<Event>,
    ending: Ending,
}

/// When a reader ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// When it has read what there is.
    ReadAll,
    /// With the agent.
    Never,
}

impl Reader {
    pub(super) fn new(log: EventLog, since: u64, ending: Ending) -> Self {
        Self {
            news: log.0.news.subscribe(),
            log,
            last: since,
            fetched: VecDeque::new(),
            ending,
        }
    }

    /// The next event, when there is one; `None`: there will be no more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.fetched.pop_front() {
                self.last = event.id;
                return Some(event);
            }
            let is_over = self.news.borrow_and_update().is_over;
            self.fetched = self.log.after(self.last);
            if self.fetched.is_empty() {
                if is_over || self.ending == Ending::ReadAll {
                    return None;
                }
                self.news.changed().await.ok()?;
            }
        }
    }
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(1, |since| since.as_secs().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(log: &EventLog, text: &str) {
        let subject = Subject::default();
        log.tell(Happening::new(EventKind::PortChanged, subject, text));
    }

    async fn all(log: &EventLog, since: u64) -> Vec<Event> {
        let mut reader = Reader::new(log.clone(), since, Ending::ReadAll);
        let mut events = Vec::new();
        while let Some(event) = reader.next().await {
            events.push(event);
        }
        events
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_misses_nothing_and_repeats_nothing() {
        let log = EventLog::new();
        assert!(all(&log, 0).await.is_empty());
        (0..300).for_each(|n| tell(&log, &n.to_string()));
        let events = all(&log, 0).await;
        assert_eq!(events.len(), 300);
        assert!(events.windows(2).all(|two| two[0].id + 1 == two[1].id));
        let rest = all(&log, events[99].id).await;
        assert_eq!(rest, events[100..]);
        assert!(all(&log, events[299].id).await.is_empty());
    }

    #[tokio::test]
    async fn a_gap_is_told_before_what_follows_it() {
        let log = EventLog::new();
        tell(&log, "first");
        let first = log.newest();
        (0..KEPT + 10).for_each(|_| tell(&log, "x"));
        let events = all(&log, first).await;
        assert_eq!(events[0].kind, EventKind::Gap);
        assert_eq!(events.len(), KEPT + 1);
        assert!(events.windows(2).all(|two| two[0].id + 1 == two[1].id));
        // Of another time: before this agent started, and of a clock that was ahead.
        for strange in [7, u64::MAX - 1] {
            assert_eq!(all(&log, strange).await[0].kind, EventKind::Gap);
        }
    }

    #[tokio::test]
    async fn a_reader_ends_with_the_agent() {
        let log = EventLog::new();
        let mut reader = Reader::new(log.clone(), 0, Ending::Never);
        tell(&log, "last");
        log.close();
        assert_eq!(reader.next().await.unwrap().text, "last");
        assert_eq!(reader.next().await, None);
    }
}
