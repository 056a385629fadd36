//! Requests that nobody may make: slowed down, and told in the log once a peer and minute.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{Method, Uri};
use tokio::time::{Instant, sleep};

use super::{Peer, guests::Origin};

/// How long further requests are counted before they are told.
const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are told apart; all others are one.
const LIMIT: usize = 4_096;
/// Refused at once, and again for each second after.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 5.0;
/// What each refusal beyond that takes.
const PAUSE: Duration = Duration::from_millis(500);
/// Of an address, in the log.
const SHOWN: usize = 200;

/// Those who ask without a right.
#[derive(Clone, Debug)]
pub(crate) struct Strangers {
    all: Arc<Mutex<HashMap<Option<Origin>, Tries>>>,
    log: fn(&str),
}

#[derive(Debug)]
struct Tries {
    /// After the first, which was told.
    more: u64,
    allowance: f64,
    last: Instant,
}

impl Strangers {
    /// `log` writes a line where the listener's lines belong.
    pub(crate) fn new(log: fn(&str)) -> Self {
        Self {
            all: Arc::default(),
            log,
        }
    }

    /// Notes a request that is refused; takes its time if there are many of that peer.
    pub(crate) async fn refuse(&self, peer: &Peer, (method, uri): (&Method, &Uri), why: &str) {
        if self.note(peer, (method, uri), why) {
            sleep(PAUSE).await;
        }
    }

    /// Whether it is one too many.
    fn note(&self, peer: &Peer, (method, uri): (&Method, &Uri), why: &str) -> bool {
        let now = Instant::now();
        let mut all = self.all();
        let own = Some(Origin::of(peer));
        let origin = match all.contains_key(&own) || all.len() < LIMIT {
            true => own,
            false => None,
        };
        if let Some(tries) = all.get_mut(&origin) {
            tries.more += 1;
            let since = now.duration_since(tries.last).as_secs_f64();
            tries.allowance = (tries.allowance + since * PER_SECOND).min(BURST);
            tries.last = now;
            let is_many = tries.allowance < 1.0;
            tries.allowance = (tries.allowance - 1.0).max(0.0);
            return is_many;
        }
        let first = Tries {
            more: 0,
            allowance: BURST - 1.0,
            last: now,
        };
        all.insert(origin, first);
        drop(all);
        let path: String = uri.path().chars().take(SHOWN).collect();
        (self.log)(&format!("refused: {why}, {method} {path}, {peer}"));
        let strangers = self.clone();
        tokio::spawn(async move {
            sleep(WINDOW).await;
            strangers.sum_up(origin);
        });
        false
    }

    fn sum_up(&self, origin: Option<Origin>) {
        let tries = self.all().remove(&origin);
        let more = tries.map_or(0, |tries| tries.more);
        if more > 0 {
            let who = origin.map_or_else(|| "others".to_owned(), |origin| origin.to_string());
            (self.log)(&format!("refused {more} more within a minute, {who}"));
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Option<Origin>, Tries>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(uid) => write!(f, "uid={uid}"),
            Self::Network(address) => write!(f, "address={address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static LINES: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn a_peer_is_told_once_a_minute_with_a_count_and_slowed_down() {
        let strangers = Strangers::new(|line| {
            assert!(line.len() < 400, "{line}");
            LINES.fetch_add(1, Ordering::Relaxed);
        });
        let peer = |last: u16| Peer::Network {
            address: ([10, 0, (last >> 8) as u8, last as u8], 5).into(),
            subject: None,
        };
        let long: Uri = format!("/{}", "x".repeat(60_000)).parse().unwrap();
        let note = |last| strangers.note(&peer(last), (&Method::GET, &long), "no token");
        let slowed = (0..200).filter(|_| note(1)).count();
        // Some are allowed again while the test runs.
        assert!((100..=180).contains(&slowed), "{slowed}");
        assert!(!note(2), "another has done nothing");
        assert_eq!(LINES.load(Ordering::Relaxed), 2);
        (3..6_000).for_each(|last| {
            note(last);
        });
        assert_eq!(strangers.all().len(), LIMIT + 1);
        let before = LINES.load(Ordering::Relaxed);
        strangers.sum_up(Some(Origin::of(&peer(1))));
        strangers.sum_up(Some(Origin::of(&peer(2))));
        assert_eq!(LINES.load(Ordering::Relaxed), before + 1, "one had more");
        assert_eq!(strangers.all().len(), LIMIT - 1);
    }
}
