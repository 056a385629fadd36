//! One file of the library's: opened whole or not at all, and opened anew after a failure.
//!
//! After the first I/O error the library refuses everything, so the file is given up and opened
//! again, with pauses, and is in trouble until [`File::look`] finds that it takes changes. Whoever keeps
//! something here calls [`File::read`] and [`File::write`].

mod opening;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use redb::{
    Database, Durability, ReadTransaction, ReadableDatabase as _, ReadableTable as _,
    TableDefinition, TableError, WriteTransaction,
};

use super::{
    RegistryError,
    panics::answered,
    watch::{Away, Lapses},
};
use opening::{PANICKED, Whole, identity, open_whole, spoilt, unopened};

/// Written to see whether the file takes changes again.
const PROBE: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("probe");
/// How many changes were made, under a name: one that has fewer than were acknowledged went back.
const CHANGES: TableDefinition<'_, &str, u64> = TableDefinition::new("changes");
const COUNT: &str = "count";
/// More than a change needs: on a full disk small ones still find room in the file now and then.
const PROBE_BYTES: usize = 256 * 1024;
/// Between attempts to open a file anew: at first, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(2)];

/// An open file, or why it is not.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    identity: (u64, u64),
    open: RwLock<Open>,
    trouble: Mutex<Option<Trouble>>,
    lapses: Mutex<Lapses>,
    /// How many changes were acknowledged.
    acknowledged: AtomicU64,
}

#[derive(Debug)]
struct Open {
    /// How often it was opened.
    generation: u64,
    whole: Option<Whole>,
}

#[derive(Debug)]
struct Trouble {
    away: Away,
    /// No disk heals that: what it holds is not what was written.
    is_spoilt: bool,
    pause: Duration,
    /// Not opened anew before.
    next: Instant,
}

impl File {
    /// Opens the file, or makes it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, RegistryError> {
        let whole = open_whole(path)?;
        let changes = changes_in(&whole.database).map_err(|why| spoilt(path, &why))?;
        let found = fs::metadata(path).map_err(|error| unopened(path, &error.to_string()))?;
        Ok(Self {
            path: path.to_owned(),
            identity: identity(&found),
            open: RwLock::new(Open {
                generation: 0,
                whole: Some(whole),
            }),
            trouble: Mutex::default(),
            lapses: Mutex::default(),
            acknowledged: changes.into(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Since when it cannot be used, and why.
    pub(super) fn trouble(&self) -> Option<Away> {
        self.troubled().as_ref().map(|trouble| trouble.away.clone())
    }

    /// How often it has got into trouble.
    pub(super) fn lapses(&self) -> Lapses {
        let lapses = self.lapses.lock().unwrap_or_else(PoisonError::into_inner);
        lapses.clone()
    }

    /// How many changes it has acknowledged, in its whole life.
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Whether it cannot be used any more, however well its disk is.
    pub(super) fn is_spoilt(&self) -> bool {
        let trouble = self.troubled();
        trouble.as_ref().is_some_and(|trouble| trouble.is_spoilt)
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
        self.miss();
        self.with(|database| {
            let mut transaction = database.begin_write().map_err(engine)?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(engine)?;
            // An error drops the transaction, which aborts it.
            let answer = change(&transaction)?;
            let count = count(&transaction)?;
            transaction.commit().map_err(engine)?;
            self.acknowledged.fetch_max(count, Ordering::SeqCst);
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
        } else {
            self.miss();
        }
    }

    /// Gives the file up if it is not where and what it was: nothing is to be built upon that.
    fn miss(&self) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let Open {
            generation,
            whole: Some(whole),
        } = &*open
        else {
            return;
        };
        let is_there = self.is_there();
        let missed = is_there.and_then(|found| match whole.length.cut_from(found) {
            Some(length) => Err(format!("it was cut from {length} to {found} bytes")),
            None => Ok(()),
        });
        let generation = *generation;
        drop(open);
        if let Err(why) = missed {
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
        let Some(whole) = &open.whole else {
            return Err(self.failed());
        };
        let generation = open.generation;
        let done = answered(|| work(&whole.database));
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
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if open.whole.is_some() {
            return Ok(());
        }
        drop(open);
        let mut open = self.opened();
        if open.whole.is_some() {
            return Ok(());
        }
        if let Some(trouble) = &*self.troubled()
            && Instant::now() < trouble.next
        {
            return Err(RegistryError::Failed(trouble.away.reason.clone()));
        }
        match self.open_again() {
            Ok(whole) => {
                open.generation += 1;
                open.whole = Some(whole);
                Ok(())
            }
            Err((why, is_spoilt)) => {
                self.remember(&why, is_spoilt);
                Err(RegistryError::Failed(self.reason(&why)))
            }
        }
    }

    /// Opens the file anew if it is the one that it was; or why not, and whether it never will be.
    fn open_again(&self) -> Result<Whole, (String, bool)> {
        // The library would begin a new one in it.
        if self.is_there().map_err(|why| (why, false))? == 0 {
            return Err(("it holds nothing any more".into(), true));
        }
        let whole = open_whole(&self.path).map_err(|error| {
            let is_spoilt = matches!(error, RegistryError::Spoilt { .. });
            (error.to_string(), is_spoilt)
        })?;
        let found = changes_in(&whole.database).map_err(|why| (why, true))?;
        match self.acknowledged() {
            wanted if found < wanted => {
                let text = format!("it has lost its last changes: {found} of {wanted} are there");
                Err((text, true))
            }
            _ => Ok(whole),
        }
    }

    /// Whether the path leads to the file that was opened; how long that is.
    fn is_there(&self) -> Result<u64, String> {
        match fs::metadata(&self.path) {
            Ok(found) if identity(&found) == self.identity => Ok(found.len()),
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
        if open.generation == generation
            && let Some(whole) = open.whole.take()
        {
            let _ = answered(move || drop(whole));
            self.remember(why, false);
        }
    }

    fn remember(&self, why: &str, is_spoilt: bool) {
        let reason = self.reason(why);
        let mut trouble = self.troubled();
        let now = Instant::now();
        match &mut *trouble {
            Some(trouble) => {
                trouble.pause = (trouble.pause * 2).min(PAUSES[1]);
                trouble.next = now + trouble.pause;
                trouble.away.reason = reason;
                trouble.is_spoilt = is_spoilt;
            }
            None => {
                tracing::error!("given up until it can be used again: {reason}");
                let lapses = self.lapses.lock();
                lapses.unwrap_or_else(PoisonError::into_inner).note(&reason);
                *trouble = Some(Trouble {
                    away: Away { reason, since: now },
                    is_spoilt,
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

    fn opened(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many changes a database holds.
fn changes_in(database: &Database) -> Result<u64, String> {
    let read = || changes(&database.begin_read().map_err(engine)?);
    let read = answered(read).ok_or(PANICKED)?;
    read.map_err(|error| error.to_string())
}

/// How many changes were made up to this state.
pub(super) fn changes(transaction: &ReadTransaction) -> Result<u64, RegistryError> {
    match transaction.open_table(CHANGES) {
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        table => {
            let count = table.map_err(engine)?.get(COUNT).map_err(engine)?;
            Ok(count.map_or(0, |count| count.value()))
        }
    }
}

/// Counts a change.
fn count(transaction: &WriteTransaction) -> Result<u64, RegistryError> {
    let mut table = transaction.open_table(CHANGES).map_err(engine)?;
    let before = table.get(COUNT).map_err(engine)?.map(|count| count.value());
    let count = before.unwrap_or_default() + 1;
    table.insert(COUNT, count).map_err(engine)?;
    Ok(count)
}

/// Has the count go on from that of another file.
pub(super) fn count_from(transaction: &WriteTransaction, other: u64) -> Result<(), RegistryError> {
    let mut table = transaction.open_table(CHANGES).map_err(engine)?;
    let before = table.get(COUNT).map_err(engine)?.map(|count| count.value());
    let count = before.unwrap_or_default().max(other);
    table.insert(COUNT, count).map_err(engine)?;
    Ok(())
}

fn engine(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RegistryError {
    RegistryError::Engine(error.into())
}

#[cfg(test)]
mod tests;
