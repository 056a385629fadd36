//! Opening a file whole, or saying why not.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

use redb::{Database, DatabaseError, StorageError};

use super::super::{
    RegistryError,
    backing::{Backing, Length, Locks},
    panics::answered,
};

pub(super) const PANICKED: &str = "its pages do not fit together";

/// An open file.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) database: Database,
    /// How long it is meant to be.
    pub(super) length: Length,
    #[expect(dead_code, reason = "dropped last: nobody uses the file then")]
    locks: Locks,
}

/// Device and number: another file in its place is none of ours.
pub(super) fn identity(found: &fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

/// Opens a file whose every page has its checksum, or makes one.
pub(super) fn open_whole(path: &Path) -> Result<Whole, RegistryError> {
    // Opening anything else may wait for ever.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(spoilt(path, "it is no regular file"));
    }
    // A cache of a gigabyte, the library's own, is memory that nobody gets back.
    let open = || -> Result<Whole, DatabaseError> {
        let backing = Backing::open(path)?;
        let (length, locks) = (backing.length(), backing.locks());
        let mut builder = Database::builder();
        builder.set_cache_size(4 * 1024 * 1024);
        let mut database = builder.create_with_backend(backing)?;
        database.check_integrity()?;
        Ok(Whole {
            database,
            length,
            locks,
        })
    };
    match answered(open) {
        Some(Ok(whole)) => Ok(whole),
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

pub(super) fn unopened(path: &Path, why: &str) -> RegistryError {
    RegistryError::Unopened {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

pub(super) fn spoilt(path: &Path, why: &str) -> RegistryError {
    RegistryError::Spoilt {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}
