//! The way from the library to the disk. It remembers how long the file is, so that one which was cut
//! from outside is noticed before anything is built upon it. In tests the disk fails here.

#[cfg(test)]
pub(super) mod faults;

use std::{
    fs, io,
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

/// How long the library has made a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Length(Arc<AtomicU64>);

impl Length {
    /// How long the file was, if so many bytes are less than that.
    pub(super) fn cut_from(&self, found: u64) -> Option<u64> {
        // The library may shorten it in between: it says so first.
        let is_cut = |length: &u64| *length > found;
        let now = || self.0.load(Ordering::SeqCst);
        Some(now())
            .filter(is_cut)
            .and_then(|_| Some(now()).filter(is_cut))
    }
}

/// The locks of a file, which end with this: the library leaks what it was doing when it panics, and a
/// file that nobody uses would be another agent's for ever.
#[derive(Debug)]
pub(super) struct Locks(Arc<FileBackend>);

impl Drop for Locks {
    fn drop(&mut self) {
        if let Err(error) = self.0.close() {
            tracing::error!("a file was not closed: {error}");
        }
    }
}

/// A file as the library sees it.
#[derive(Debug)]
pub(super) struct Backing {
    file: Arc<FileBackend>,
    length: Length,
    #[cfg(test)]
    faults: Arc<faults::Faults>,
}

impl Backing {
    /// Opens a file, or makes one.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let mut options = fs::File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(path)?;
        let length = Length(Arc::new(AtomicU64::new(file.metadata()?.len())));
        Ok(Self {
            file: Arc::new(FileBackend::new(file)?),
            length,
            #[cfg(test)]
            faults: faults::of(path),
        })
    }

    pub(super) fn locks(&self) -> Locks {
        Locks(Arc::clone(&self.file))
    }

    pub(super) fn length(&self) -> Length {
        self.length.clone()
    }
}

impl StorageBackend for Backing {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        #[cfg(test)]
        self.faults.read()?;
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        #[cfg(test)]
        self.faults.write()?;
        self.length.0.fetch_min(length, Ordering::SeqCst);
        self.file.set_len(length)?;
        self.length.0.store(length, Ordering::SeqCst);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        #[cfg(test)]
        self.faults.read()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Err(error) = self.faults.write() {
            // As a disk does it: some of it is there.
            self.file.write(offset, &data[..data.len() / 2])?;
            return Err(error);
        }
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
