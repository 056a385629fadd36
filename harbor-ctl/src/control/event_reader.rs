//! Reads the events of an agent at the reader's own pace, and only those that match its filter.

use std::collections::VecDeque;

use tokio::sync::watch;

use super::event_log::{EventLog, News};
use crate::model::{Event, EventKind, PortRef};

/// Which events are meant.
#[derive(Debug, Default)]
pub(super) struct EventFilter {
    /// Those that are about this port.
    pub(super) port: Option<PortRef>,
    /// Those of these kinds; empty: of all.
    pub(super) kinds: Vec<EventKind>,
    /// Those that have happened since, in seconds since 1970.
    pub(super) not_before: u64,
    /// Those that somebody has asked for.
    pub(super) is_audit: bool,
}

impl EventFilter {
    /// A gap is always meant: what is not known any more may have been.
    pub(super) fn is_meant(&self, event: &Event) -> bool {
        if event.kind == EventKind::Gap {
            return true;
        }
        let subject = &event.subject;
        let is_about = |port: &PortRef| {
            let text = Some(port.text());
            port.number().is_some() && port.number() == subject.port
                || text == subject.name.as_deref()
                || text == subject.service.as_deref()
        };
        event.at >= self.not_before
            && (!self.is_audit || event.actor.is_some())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.port.as_ref().is_none_or(is_about)
    }
}

/// Reads events one by one.
#[derive(Debug)]
pub(super) struct Reader {
    log: EventLog,
    news: watch::Receiver<News>,
    /// The number of the last event that was read, or was not meant.
    last: u64,
    fetched: VecDeque<Event>,
    filter: EventFilter,
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
    pub(super) fn new(log: EventLog, since: u64, filter: EventFilter, ending: Ending) -> Self {
        Self {
            news: log.news(),
            log,
            last: since,
            fetched: VecDeque::new(),
            filter,
            ending,
        }
    }

    /// The next event, when there is one; `None`: there will be no more.
    pub(super) async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.fetched.pop_front() {
                self.last = event.id;
                if self.filter.is_meant(&event) {
                    return Some(event);
                }
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

#[cfg(test)]
mod tests {
    use super::super::event_log::Record;
    use super::{super::event_log::KEPT, *};
    use crate::model::{Happening, Subject};
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    fn tell(log: &EventLog, text: &str) {
        let subject = Subject::default();
        log.tell(Happening::new(EventKind::PortChanged, subject, text));
    }

    async fn all(log: &EventLog, since: u64) -> Vec<Event> {
        let mut reader = Reader::new(log.clone(), since, EventFilter::default(), Ending::ReadAll);
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
        let mut reader = Reader::new(log.clone(), 0, EventFilter::default(), Ending::Never);
        tell(&log, "last");
        log.close();
        assert_eq!(reader.next().await.unwrap().text, "last");
        assert_eq!(reader.next().await, None);
    }

    /// A record in memory that refuses when it is told to.
    #[derive(Clone, Debug, Default)]
    struct Paper(Arc<Mutex<(Vec<u64>, bool)>>);

    impl Record for Paper {
        fn write(&mut self, kept: &VecDeque<Event>, fresh: usize) -> io::Result<()> {
            let mut paper = self.0.lock().unwrap();
            if paper.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fresh = kept.range(kept.len() - fresh..);
            paper.0.extend(fresh.map(|event| event.id));
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_could_not_be_written_down_is_written_later_and_in_order() {
        let (log, paper) = (EventLog::new(), Paper::default());
        log.go_on(Vec::new(), Box::new(paper.clone()));
        tell(&log, "first");
        paper.0.lock().unwrap().1 = true;
        tell(&log, "second");
        tell(&log, "third");
        log.write_late();
        assert!(log.condition().1.is_some());
        assert_eq!(paper.0.lock().unwrap().0.len(), 1);
        paper.0.lock().unwrap().1 = false;
        log.write_late();
        assert_eq!(log.condition(), (3, None));
        tell(&log, "fourth");
        let ids: Vec<u64> = all(&log, 0).await.iter().map(|event| event.id).collect();
        assert_eq!(paper.0.lock().unwrap().0, ids);
    }

    #[tokio::test]
    async fn ids_go_on_after_a_clock_that_was_ahead() {
        let before = EventLog::new();
        tell(&before, "first");
        let mut earlier = all(&before, 0).await;
        earlier[0].id += 1 << 40;
        let log = EventLog::new();
        log.go_on(earlier.clone(), Box::<Paper>::default());
        tell(&log, "second");
        let after = all(&log, earlier[0].id).await;
        assert_eq!(after.len(), 1);
        assert_eq!(after[0].text, "second");
        assert_eq!(all(&log, 0).await.len(), 2);
    }

    #[tokio::test]
    async fn only_what_is_meant_is_read_and_of_that_the_last() {
        let log = EventLog::new();
        for number in 0..200_u16 {
            let subject = Subject {
                port: Some(35_000 + number % 2),
                ..Subject::default()
            };
            log.tell(Happening::new(
                EventKind::PortChanged,
                subject,
                number.to_string(),
            ));
        }
        let filter = EventFilter {
            port: Some(PortRef::parse("35001").unwrap()),
            ..EventFilter::default()
        };
        let since = log.before_last(2, |event| filter.is_meant(event));
        let mut reader = Reader::new(log.clone(), since, filter, Ending::ReadAll);
        assert_eq!(reader.next().await.unwrap().text, "197");
        assert_eq!(reader.next().await.unwrap().text, "199");
        assert_eq!(reader.next().await, None);
        assert_eq!(log.before_last(0, |_| true), log.newest());
    }
}
