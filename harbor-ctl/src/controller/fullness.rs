//! Reports once that something is full, and once that it has room again.
//!
//! What comes and goes within the same half minute is one event: whoever fills and empties something
//! in turns does not fill the record of events.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::model::{EventKind, Filled, Happening, Subject};

/// What was told stays told for so long.
const LASTS: Duration = Duration::from_secs(30);

/// What was told to be full, and when.
#[derive(Debug, Default)]
pub(super) struct Fullness {
    told: BTreeMap<(String, String), Instant>,
}

impl Fullness {
    /// Compares what was told with what is full now; what is to be told. `filled` holds what is full or
    /// nearly so of one thing that is scarce, which is called `scarce`.
    pub(super) fn compare(
        &mut self,
        scarce: &str,
        filled: &[Filled],
        now: Instant,
    ) -> Vec<Happening> {
        let name = |one: &Filled| format!("{} {}", one.what, one.name);
        let mut news = Vec::new();
        for one in filled.iter().filter(|one| one.is_full()) {
            let key = (scarce.to_owned(), name(one));
            if self.told.insert(key, now).is_none() {
                let text = format!("no {scarce} are left: {one}");
                news.push(Happening::new(
                    EventKind::LimitReached,
                    subject(&name(one)),
                    text,
                ));
            }
        }
        let is_over = |told: &(String, String), since: Instant| {
            told.0 == scarce
                && now.duration_since(since) >= LASTS
                && filled.iter().all(|one| name(one) != told.1)
        };
        self.told.retain(|key, since| {
            let is_over = is_over(key, *since);
            if is_over {
                let text = format!("{scarce} are left again: {}", key.1);
                news.push(Happening::new(EventKind::LimitLeft, subject(&key.1), text));
            }
            !is_over
        });
        news
    }
}

/// `port 35217/tcp` is about a port.
fn subject(name: &str) -> Subject {
    let number = name
        .strip_prefix("port ")
        .and_then(|rest| rest.split('/').next());
    Subject {
        port: number.and_then(|number| number.parse().ok()),
        ..Subject::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(used: u64) -> Vec<Filled> {
        vec![Filled {
            what: "port".into(),
            name: "35217/tcp".into(),
            used,
            room: 100,
        }]
    }

    #[test]
    fn what_is_full_is_told_once_and_when_it_is_over() {
        let (mut fullness, start) = (Fullness::default(), Instant::now());
        let mut told = |filled: &[Filled], seconds: u64| {
            let now = start + Duration::from_secs(seconds);
            let news = fullness.compare("descriptors", filled, now);
            let each = news.into_iter();
            each.map(|one| (one.kind, one.subject.port))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&filled(95), 0), []);
        let reached = [(EventKind::LimitReached, Some(35_217))];
        assert_eq!(told(&filled(99), 1), reached);
        // Nearly full is not over, and neither is a moment.
        assert_eq!(told(&filled(100), 2), []);
        assert_eq!(told(&filled(92), 100), []);
        assert_eq!(told(&filled(100), 101), []);
        assert_eq!(told(&[], 110), []);
        assert_eq!(told(&[], 140), [(EventKind::LimitLeft, Some(35_217))]);
        assert_eq!(told(&filled(99), 141), reached);
    }
}
