//! Who is signed in. A session's id is made at sign-in alone, is kept as a digest, and ends: after a
//! while of silence, after a day's work, at sign-out, and with the agent.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::accounts::Role;

/// Silence that ends a session.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// No session is older.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// The most at once; the one that has been silent for longest makes room.
const MOST: usize = 256;

type Key = [u8; 32];

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) role: Role,
    /// Stands in every form that changes something.
    pub(super) csrf: String,
    key: Key,
    begun: Instant,
    seen: Instant,
}

/// Whether a request shows that somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    OfLife,
    /// A page that keeps itself fresh.
    OfPage,
}

/// Those who are signed in.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<HashMap<Key, Session>>>);

impl Sessions {
    /// Signs somebody in, and answers what the cookie is to hold.
    pub(super) fn begin(&self, (name, role): (String, Role), now: Instant) -> String {
        let (id, csrf) = (random(), random());
        let key = digest(&id);
        let mut all = self.all();
        all.retain(|_, session| session.is_alive(now));
        if all.len() >= MOST
            && let Some(oldest) = all.values().min_by_key(|session| session.seen)
        {
            let oldest = oldest.key;
            all.remove(&oldest);
        }
        let (begun, seen) = (now, now);
        let session = Session {
            name,
            role,
            csrf,
            key,
            begun,
            seen,
        };
        all.insert(key, session);
        id
    }

    /// Whose session this is.
    pub(super) fn find(&self, id: &str, sign: Sign, now: Instant) -> Option<Session> {
        let mut all = self.all();
        let session = all.get_mut(&digest(id))?;
        if !session.is_alive(now) {
            return None;
        }
        if sign == Sign::OfLife {
            session.seen = now;
        }
        Some(session.clone())
    }

    /// Whether it has not ended meanwhile.
    pub(super) fn goes_on(&self, session: &Session, now: Instant) -> bool {
        let all = self.all();
        all.get(&session.key).is_some_and(|own| own.is_alive(now))
    }

    pub(super) fn end(&self, session: &Session) {
        self.all().remove(&session.key);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) < IDLE
            && now.saturating_duration_since(self.begun) < LONGEST
    }

    pub(super) fn may_change(&self) -> bool {
        self.role == Role::Admin
    }
}

fn digest(id: &str) -> Key {
    Sha256::digest(id.as_bytes()).into()
}

fn random() -> String {
    let bytes: [u8; 32] = rand::random();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> (String, Role) {
        ("ann".to_owned(), Role::Read)
    }

    #[test]
    fn a_session_ends_by_silence_by_age_and_by_sign_out() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        let id = sessions.begin(ann(), start);
        let find = |sign, after| sessions.find(&id, sign, start + after);
        assert!(find(Sign::OfPage, IDLE - Duration::from_secs(1)).is_some());
        assert!(find(Sign::OfLife, IDLE).is_none(), "a page is nobody");
        let id = sessions.begin(ann(), start);
        let step = IDLE - Duration::from_secs(1);
        let mut after = step;
        while after < LONGEST {
            assert!(sessions.find(&id, Sign::OfLife, start + after).is_some());
            after += step;
        }
        assert!(sessions.find(&id, Sign::OfLife, start + LONGEST).is_none());
        let id = sessions.begin(ann(), start);
        let session = sessions.find(&id, Sign::OfLife, start).unwrap();
        sessions.end(&session);
        assert!(!sessions.goes_on(&session, start));
        assert!(sessions.find(&id, Sign::OfLife, start).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_an_id_is_never_one_that_was_given() {
        let (sessions, start) = (Sessions::default(), Instant::now());
        assert!(sessions.find("chosen", Sign::OfLife, start).is_none());
        let first = sessions.begin(ann(), start);
        for n in 0..MOST {
            sessions.begin(ann(), start + Duration::from_millis(n as u64 + 1));
        }
        assert_eq!(sessions.all().len(), MOST);
        assert!(sessions.find(&first, Sign::OfLife, start).is_none());
    }
}
