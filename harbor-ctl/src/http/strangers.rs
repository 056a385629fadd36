//! Requests that nobody may make: slowed down, and told once a peer and minute, in the log and as an
//! event.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::http::{Method, Uri};
use tokio::time::{Instant, sleep};

use super::{
    guests::Origin,
    peer::Peer,
    requester::{Requester, asked_by},
};

/// How long further requests are counted before they are told.
const WINDOW: Duration = Duration::from_secs(60);
/// Peers that are told apart; all others are one.
const LIMIT: usize = 4_096;
/// Peers of which events tell; of more at once only the log does, which has its bounds: events of other
/// things must not make room for them.
const EVENTS: usize = 64;
/// Refused at once, and again for each second after.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 5.0;
/// What each refusal beyond that takes.
const PAUSE: Duration = Duration::from_millis(500);
/// Of an address, in the log.
const SHOWN: usize = 200;

/// Those who ask without a right.
#[derive(Clone)]
pub(crate) struct Strangers {
    all: Arc<Mutex<HashMap<Option<Origin>, Tries>>>,
    log: fn(&str),
    tell: Arc<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Strangers")
    }
}

#[derive(Debug)]
struct Tries {
    /// An event tells of them too.
    is_event: bool,
    /// After the first, which was told.
    more: u64,
    allowance: f64,
    last: Instant,
}

impl Strangers {
    /// `log` writes a line where the listener's lines belong, `tell` makes an event of it.
    pub(crate) fn new(log: fn(&str), tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self {
            all: Arc::default(),
            log,
            tell: Arc::new(tell),
        }
    }

    /// Notes a request that is refused; takes its time if there are many of that peer.
    pub(crate) async fn refuse(&self, peer: &Peer, (method, uri): (&Method, &Uri), why: &str) {
        let requester = Requester::new(Some(peer), None);
        let note = async { self.note(peer, (method, uri), why) };
        if asked_by(Some(requester), note).await {
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
        let is_event = all.len() < EVENTS;
        let first = Tries {
            is_event,
            more: 0,
            allowance: BURST - 1.0,
            last: now,
        };
        all.insert(origin, first);
        drop(all);
        let path: String = uri.path().chars().take(SHOWN).collect();
        (self.log)(&format!("refused: {why}, {method} {path}, {peer}"));
        if is_event {
            (self.tell)(&format!("{method} {path}: refused: {why}"));
        }
        let strangers = self.clone();
        tokio::spawn(async move {
            sleep(WINDOW).await;
            strangers.sum_up(origin);
        });
        false
    }

    fn sum_up(&self, origin: Option<Origin>) {
        let Some(Tries { more, is_event, .. }) = self.all().remove(&origin) else {
            return;
        };
        if more > 0 {
            let who = origin.map_or_else(|| "others".to_owned(), |origin| origin.to_string());
            let text = format!("refused {more} more within a minute, {who}");
            (self.log)(&text);
            if is_event {
                (self.tell)(&text);
            }
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
    static TOLD: AtomicUsize = AtomicUsize::new(0);

    #[tokio::test]
    async fn a_peer_is_told_once_a_minute_with_a_count_and_slowed_down() {
        let log = |line: &str| {
            assert!(line.len() < 400, "{line}");
            LINES.fetch_add(1, Ordering::Relaxed);
        };
        let strangers = Strangers::new(log, |_| {
            TOLD.fetch_add(1, Ordering::Relaxed);
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
        assert_eq!(TOLD.load(Ordering::Relaxed), EVENTS);
        let before = LINES.load(Ordering::Relaxed);
        strangers.sum_up(Some(Origin::of(&peer(1))));
        strangers.sum_up(Some(Origin::of(&peer(2))));
        assert_eq!(LINES.load(Ordering::Relaxed), before + 1, "one had more");
        assert_eq!(strangers.all().len(), LIMIT - 1);
    }
}
