//! Disks that fail, for tests: full, or broken, from the next access on or from a later one.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use nix::errno::Errno;

/// What a disk does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) enum Fault {
    #[default]
    None,
    /// ENOSPC for whatever is written.
    Full,
    /// EIO for whatever is asked.
    Broken,
}

/// The fault of one file's disk, and how many accesses it leaves alone before.
#[derive(Debug, Default)]
pub(in crate::registry) struct Faults(Mutex<(Fault, u32)>);

impl Faults {
    pub(in crate::registry) fn set(&self, fault: Fault, after: u32) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (fault, after);
    }

    pub(in crate::registry) fn is_set(&self) -> bool {
        let fault = self.0.lock().unwrap_or_else(PoisonError::into_inner).0;
        fault != Fault::None
    }

    pub(super) fn read(&self) -> io::Result<()> {
        self.strike(|fault| (fault == Fault::Broken).then_some(Errno::EIO))
    }

    pub(super) fn write(&self) -> io::Result<()> {
        self.strike(|fault| match fault {
            Fault::None => None,
            Fault::Full => Some(Errno::ENOSPC),
            Fault::Broken => Some(Errno::EIO),
        })
    }

    fn strike(&self, as_errno: impl FnOnce(Fault) -> Option<Errno>) -> io::Result<()> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(errno) = as_errno(faults.0) else {
            return Ok(());
        };
        if faults.1 > 0 {
            faults.1 -= 1;
            return Ok(());
        }
        Err(errno.into())
    }
}

/// The disk of this file.
pub(in crate::registry) fn of(path: &Path) -> Arc<Faults> {
    static ALL: Mutex<BTreeMap<PathBuf, Arc<Faults>>> = Mutex::new(BTreeMap::new());
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    Arc::clone(all.entry(path.to_owned()).or_default())
}
