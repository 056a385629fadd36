//! Who is signed in. A session's id is made at sign-in alone, is kept as a digest, and ends: after a
//! while of silence, after a day's work, at sign-out, and when its account is changed.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::{
    accounts::{Account, Accounts, Role},
    session_file::{self, Record},
};

/// Silence that ends a session.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// No session is older.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);
/// The most at once, and of one account; the one that has been silent for longest makes room, of whoever
/// has most.
const MOST: usize = 256;
const MOST_OF_ONE: usize = 32;
/// How often it is written down who was there last.
const KEEP: Duration = Duration::from_secs(30);

type Key = [u8; 32];

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) name: String,
    pub(super) role: Role,
    /// Stands in every form that changes something; made of what the cookie holds, which is not kept.
    pub(super) csrf: String,
    account: [u8; 32],
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
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    all: Arc<Mutex<HashMap<Key, Session>>>,
    file: Arc<PathBuf>,
    kept: Arc<Mutex<Instant>>,
}

impl Sessions {
    /// Those that were kept in the file, of accounts that are still as they were.
    pub(super) fn kept(file: PathBuf, accounts: &Accounts, now: Instant) -> Self {
        let records = session_file::read(&file).into_iter();
        let sessions = records.filter_map(|record| Session::read(&record, accounts, now));
        let sessions = sessions.take(MOST).map(|session| (session.key, session));
        Self {
            all: Arc::new(Mutex::new(sessions.collect())),
            file: Arc::new(file),
            kept: Arc::new(Mutex::new(now)),
        }
    }

    /// Signs somebody in, and answers what the cookie is to hold.
    pub(super) fn begin(&self, account: Account, now: Instant) -> String {
        let id = random();
        let key = digest(&id);
        let mut all = self.all();
        all.retain(|_, session| session.is_alive(now));
        make_room(&mut all, &account);
        let session = Session {
            name: account.name,
            role: account.role,
            csrf: String::new(),
            account: account.mark,
            key,
            begun: now,
            seen: now,
        };
        all.insert(key, session);
        self.write(&all, now);
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
        let csrf = csrf(id);
        Some(Session {
            csrf,
            ..session.clone()
        })
    }

    /// Whether it has not ended meanwhile.
    pub(super) fn goes_on(&self, session: &Session, now: Instant) -> bool {
        let all = self.all();
        all.get(&session.key).is_some_and(|own| own.is_alive(now))
    }

    pub(super) fn end(&self, session: &Session) {
        let mut all = self.all();
        all.remove(&session.key);
        self.write(&all, Instant::now());
    }

    /// Writes down now and then who was there last.
    pub(super) fn keep(&self, now: Instant) {
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(kept) >= KEEP {
            let mut all = self.all();
            all.retain(|_, session| session.is_alive(now));
            self.write(&all, now);
        }
    }

    /// Under the lock, so that what is written last is what holds. A file that cannot be written ends
    /// sessions with the agent, and nothing else.
    fn write(&self, all: &HashMap<Key, Session>, now: Instant) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let records: Vec<Record> = all.values().map(|s| s.record(now)).collect();
        if let Err(error) = session_file::write(&self.file, &records) {
            tracing::debug!("sessions are not kept in {}: {error}", self.file.display());
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// None for one that has ended, or whose account is no more what it was.
    fn read(record: &Record, accounts: &Accounts, now: Instant) -> Option<Self> {
        let account = accounts.marked(record.account)?;
        let moment = |at| now.checked_sub(session_file::ago(at)?);
        let session = Self {
            name: account.name,
            role: account.role,
            csrf: String::new(),
            account: account.mark,
            key: record.key,
            begun: moment(record.begun)?,
            seen: moment(record.seen)?,
        };
        session.is_alive(now).then_some(session)
    }

    fn record(&self, now: Instant) -> Record {
        let wall = session_file::now();
        let moment = |at| wall.saturating_sub(now.saturating_duration_since(at).as_secs());
        Record {
            key: self.key,
            account: self.account,
            begun: moment(self.begun),
            seen: moment(self.seen),
        }
    }

    fn is_alive(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) < IDLE
            && now.saturating_duration_since(self.begun) < LONGEST
    }

    pub(super) fn may_change(&self) -> bool {
        self.role == Role::Admin
    }
}

/// For one more of this account.
fn make_room(all: &mut HashMap<Key, Session>, account: &Account) {
    let mut counts: HashMap<[u8; 32], usize> = HashMap::new();
    for session in all.values() {
        *counts.entry(session.account).or_default() += 1;
    }
    let own = counts.get(&account.mark).copied().unwrap_or_default();
    let whose = match own >= MOST_OF_ONE {
        true => Some(account.mark),
        false if all.len() >= MOST => {
            let most = counts.into_iter().max_by_key(|(_, count)| *count);
            most.map(|(account, _)| account)
        }
        false => None,
    };
    let of_it = |session: &&Session| Some(session.account) == whose;
    let silent = all
        .values()
        .filter(of_it)
        .min_by_key(|session| session.seen);
    if let Some(key) = silent.map(|session| session.key) {
        all.remove(&key);
    }
}

fn digest(id: &str) -> Key {
    Sha256::digest(id.as_bytes()).into()
}

fn csrf(id: &str) -> String {
    hex(&Sha256::digest(format!("a form of {id}")))
}

fn random() -> String {
    hex(&rand::random::<[u8; 32]>())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Account {
        Account {
            name: "ann".to_owned(),
            role: Role::Read,
            mark: [7; 32],
        }
    }

    /// In a folder of their own, which is gone with the test.
    fn sessions(now: Instant) -> (tempfile::TempDir, Sessions) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sessions");
        let kept = Sessions::kept(file, &Accounts::default(), now);
        (folder, kept)
    }

    #[test]
    fn a_session_ends_by_silence_by_age_and_by_sign_out() {
        let start = Instant::now();
        let (_folder, sessions) = sessions(start);
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
        let start = Instant::now();
        let (_folder, sessions) = sessions(start);
        assert!(sessions.find("chosen", Sign::OfLife, start).is_none());
        let first = sessions.begin(ann(), start);
        for n in 0..MOST_OF_ONE {
            sessions.begin(ann(), start + Duration::from_millis(n as u64 + 1));
        }
        assert_eq!(sessions.all().len(), MOST_OF_ONE);
        assert!(sessions.find(&first, Sign::OfLife, start).is_none());
    }

    #[test]
    fn whoever_signs_in_again_and_again_signs_nobody_else_out() {
        let start = Instant::now();
        let (_folder, sessions) = sessions(start);
        let first = sessions.begin(ann(), start);
        let of = |mark: u8| Account {
            mark: [mark; 32],
            ..ann()
        };
        for mark in 8..8 + 20 {
            for n in 0..2 * MOST_OF_ONE {
                let now = start + Duration::from_millis(n as u64 + 1);
                sessions.begin(of(mark), now);
            }
            assert!(sessions.all().len() <= MOST);
            assert!(sessions.find(&first, Sign::OfPage, start).is_some());
        }
    }

    #[test]
    fn sessions_outlive_the_process_and_not_their_account() {
        let folder = tempfile::tempdir().unwrap();
        let (file, token) = (folder.path().join("kept"), folder.path().join("token"));
        let accounts = |text: &str| {
            std::fs::write(&token, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&token, mode).unwrap();
            Accounts::read(Some(&token), None).unwrap()
        };
        let (first, now) = (accounts("0123456789abcdef"), Instant::now());
        let sessions = Sessions::kept(file.clone(), &first, now);
        let account = first.check("", "0123456789abcdef").unwrap();
        let id = sessions.begin(account.clone(), now);
        let csrf = sessions.find(&id, Sign::OfPage, now).unwrap().csrf;
        let ended = sessions.begin(account, now);
        sessions.end(&sessions.find(&ended, Sign::OfPage, now).unwrap());

        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains(&id) && !text.contains(&csrf));
        let after = Sessions::kept(file.clone(), &first, now);
        assert_eq!(after.find(&id, Sign::OfPage, now).unwrap().csrf, csrf);
        assert!(after.find(&ended, Sign::OfPage, now).is_none());
        let changed = accounts("another-0123456789");
        let after = Sessions::kept(file, &changed, now);
        assert!(after.find(&id, Sign::OfPage, now).is_none());
    }
}
