//! One file of the library's: opened whole or not at all, and opened anew after a failure.
//!
//! After the first I/O error the library refuses everything, so the file is given up and opened
//! again, with pauses, and is in trouble until [`File::look`] finds that it takes changes. Whoever keeps
//! something here calls [`File::read`] and [`File::write`].

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard},
    time::{Duration, Instant},
};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _, StorageError,
    TableDefinition, WriteTransaction,
};

use super::{Away, RegistryError, panics::answered};

/// Written to see whether the file takes changes again.
const PROBE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("probe");
/// More than a change needs: on a full disk small ones still find room in the file now and then.
const PROBE_BYTES: usize = 256 * 1024;
/// Between attempts to open a file anew: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];
const PANICKED: &str = "its pages do not fit together";

/// An open file, or why it is not.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// Device and number: another file in its place is none of ours.
    identity: (u64, u64),
    /// With the number of times it was opened.
    open: RwLock<(u64, Option<Database>)>,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    away: Away,
    pause: Duration,
    /// Not opened anew before.
    next: Instant,
}

impl File {
    /// Opens the file, or makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, RegistryError> {
        let database = open_whole(path)?;
        let identity = identity(path).map_err(|error| unopened(path, &error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            identity,
            open: RwLock::new((0, Some(database))),
            trouble: Mutex::default(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Since when it cannot be used, and why.
    pub(super) fn trouble(&self) -> Option<Away> {
        self.troubled().as_ref().map(|trouble| trouble.away.clone())
    }

    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.with(|database| work(&database.begin_read().map_err(engine)?))
    }

    /// Makes a change whole and synced, or not at all. Blocks.
    pub(super) fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.with(|database| {
            let mut transaction = database.begin_write().map_err(engine)?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(engine)?;
            // An error drops the transaction, which aborts it.
            let answer = change(&transaction)?;
            transaction.commit().map_err(engine)?;
            Ok(answer)
        })
    }

    /// Looks whether the file is where it was, and tries again to use it if it could not be used.
    /// Blocks.
    pub(super) fn look(&self) {
        if self.trouble().is_some() {
            // What it fails for is remembered as the trouble.
            if self.probe().is_ok()
                && let Some(over) = self.troubled().take()
            {
                let lasted = over.away.since.elapsed();
                tracing::info!("{} works again after {lasted:.1?}", self.path.display());
            }
        } else if let Err(why) = self.is_there() {
            let generation = self.opened().0;
            self.give_up(generation, &why);
        }
    }

    /// Puts something large into the file and takes it out again.
    fn probe(&self) -> Result<(), RegistryError> {
        self.write(|transaction| {
            let mut table = transaction.open_table(PROBE).map_err(engine)?;
            let value = vec![0; PROBE_BYTES];
            table.insert("probe", &*value).map_err(engine)?;
            Ok(())
        })?;
        self.write(|transaction| {
            transaction.delete_table(PROBE).map_err(engine)?;
            Ok(())
        })
    }

    fn with<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        self.make_ready()?;
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let (generation, Some(database)) = &*open else {
            return Err(self.failed());
        };
        let generation = *generation;
        let done = answered(|| work(database));
        drop(open);
        let why = match done {
            Some(Err(RegistryError::Engine(error))) => error.to_string(),
            Some(done) => return done,
            None => PANICKED.to_owned(),
        };
        self.give_up(generation, &why);
        Err(self.failed())
    }

    /// Opens the file anew, if it was given up and it is time to try.
    fn make_ready(&self) -> Result<(), RegistryError> {
        let is_open = |open: &(u64, Option<Database>)| open.1.is_some();
        if is_open(&self.open.read().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let mut open = self.opened();
        if is_open(&open) {
            return Ok(());
        }
        if let Some(trouble) = &*self.troubled()
            && Instant::now() < trouble.next
        {
            return Err(RegistryError::Failed(trouble.away.reason.clone()));
        }
        let opened = self.is_there().and_then(|()| {
            let opened = open_whole(&self.path);
            opened.map_err(|error| error.to_string())
        });
        match opened {
            Ok(database) => {
                *open = (open.0 + 1, Some(database));
                Ok(())
            }
            Err(why) => {
                self.remember(&why);
                Err(RegistryError::Failed(self.reason(&why)))
            }
        }
    }

    /// Whether the path leads to the file that was opened.
    fn is_there(&self) -> Result<(), String> {
        match identity(&self.path) {
            Ok(found) if found == self.identity => Ok(()),
            Ok(_) => Err("another file is in its place: restart the agent to use that".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err("the file is gone: put it back where it was".into())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Closes the file that was opened so many times, unless it was opened anew since.
    fn give_up(&self, generation: u64, why: &str) {
        let mut open = self.opened();
        if open.0 == generation
            && let Some(database) = open.1.take()
        {
            let _ = answered(move || drop(database));
            self.remember(why);
        }
    }

    fn remember(&self, why: &str) {
        let reason = self.reason(why);
        let mut trouble = self.troubled();
        let now = Instant::now();
        match &mut *trouble {
            Some(trouble) => {
                trouble.pause = (trouble.pause * 2).min(PAUSES[1]);
                trouble.next = now + trouble.pause;
                trouble.away.reason = reason;
            }
            None => {
                tracing::error!("given up until it can be used again: {reason}");
                *trouble = Some(Trouble {
                    away: Away { reason, since: now },
                    pause: PAUSES[0],
                    next: now + PAUSES[0],
                });
            }
        }
    }

    fn reason(&self, why: &str) -> String {
        match why.contains(&*self.path.to_string_lossy()) {
            true => why.to_owned(),
            false => format!("{}: {why}", self.path.display()),
        }
    }

    fn failed(&self) -> RegistryError {
        let reason = self.trouble().map(|away| away.reason);
        RegistryError::Failed(reason.unwrap_or_else(|| self.reason("it is being opened anew")))
    }

    fn troubled(&self) -> MutexGuard<'_, Option<Trouble>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> RwLockWriteGuard<'_, (u64, Option<Database>)> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|found| (found.dev(), found.ino()))
}

/// Opens a file whose every page has its checksum, or makes one.
fn open_whole(path: &Path) -> Result<Database, RegistryError> {
    // Opening anything else may wait for ever.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(spoilt(path, "it is no regular file"));
    }
    // A cache of a gigabyte, the library's own, is memory that nobody gets back.
    let open = || -> Result<Database, DatabaseError> {
        let mut builder = Database::builder();
        let mut database = builder.set_cache_size(4 * 1024 * 1024).create(path)?;
        database.check_integrity()?;
        Ok(database)
    };
    match answered(open) {
        Some(Ok(database)) => Ok(database),
        Some(Err(DatabaseError::DatabaseAlreadyOpen)) => Err(RegistryError::InUse(path.to_owned())),
        Some(Err(DatabaseError::Storage(StorageError::Io(error)))) if !is_content(&error) => {
            Err(unopened(path, &error.to_string()))
        }
        Some(Err(error)) => Err(spoilt(path, &error.to_string())),
        None => Err(spoilt(path, PANICKED)),
    }
}

/// Whether an error is about what a file holds, not about the disk or somebody's rights.
fn is_content(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}

fn unopened(path: &Path, why: &str) -> RegistryError {
    RegistryError::Unopened {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn spoilt(path: &Path, why: &str) -> RegistryError {
    RegistryError::Spoilt {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(file: &File) -> Result<(), RegistryError> {
        file.write(|transaction| {
            let mut table = transaction.open_table(PROBE).map_err(engine)?;
            table.insert("a", &b"1"[..]).map_err(engine)?;
            Ok(())
        })
    }

    /// Asks until it is time to try again.
    fn eventually(holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "not within 10 s");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_that_fails_is_opened_anew_and_works_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(&folder.path().join("a.redb")).unwrap();
        let failing = |_: &WriteTransaction| -> Result<(), RegistryError> {
            Err(engine(io::Error::from(io::ErrorKind::StorageFull)))
        };
        let error = file.write(failing).unwrap_err();
        assert!(matches!(error, RegistryError::Failed(_)), "{error}");
        let reason = file.trouble().unwrap().reason;
        assert!(reason.contains("a.redb: no storage space"), "{reason}");
        // At once nothing is tried.
        assert!(put(&file).is_err());
        eventually(|| put(&file).is_ok());
        file.look();
        assert_eq!(file.trouble(), None);
    }

    #[test]
    fn a_panic_of_the_library_is_a_failure_like_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = File::open(&folder.path().join("a.redb")).unwrap();
        let error = file.write(|_| -> Result<(), _> { panic!("spoilt") });
        assert!(matches!(error, Err(RegistryError::Failed(_))));
        eventually(|| put(&file).is_ok());
    }

    #[test]
    fn a_file_that_is_moved_away_is_missed_and_never_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("a.redb"), folder.path().join("b"));
        let file = File::open(&path).unwrap();
        fs::rename(&path, &aside).unwrap();
        file.look();
        assert!(file.trouble().unwrap().reason.contains("gone"));
        file.look();
        assert!(put(&file).is_err() && !path.exists());
        fs::rename(&aside, &path).unwrap();
        eventually(|| {
            file.look();
            file.trouble().is_none()
        });
        put(&file).unwrap();
    }

    #[test]
    fn what_is_no_file_or_may_not_be_read_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.redb");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = File::open(&path).unwrap_err();
        assert!(matches!(error, RegistryError::Spoilt { .. }), "{error}");
        let below = File::open(&folder.path().join("none/a.redb")).unwrap_err();
        assert!(matches!(below, RegistryError::Unopened { .. }), "{below}");
    }
}
