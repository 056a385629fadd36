//! The numbers that only the proxy serves, in a file beside the registry: the kernel's tables tell of the
//! others when both files of the registry are gone, and of these nothing else would.

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::model::Protocol;

const FILE: &str = "proxied.json";
/// What is larger was written by somebody else: there are not so many numbers.
const TOO_LARGE: u64 = 4 * 1024 * 1024;

/// What is in the file, as far as this agent knows.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    written: Option<BTreeSet<(Protocol, u16)>>,
    has_failed: bool,
}

impl Proxied {
    /// Whether the file tells of what is no more.
    pub(super) fn lags(&self) -> bool {
        self.has_failed
    }

    /// Writes down what only the proxy serves, if that is other than before.
    pub(super) fn note(&mut self, state: &Path, halves: BTreeSet<(Protocol, u16)>) {
        if self.written.as_ref() == Some(&halves) {
            return;
        }
        let done = write(state, &halves);
        let has_failed = done.is_err();
        if let Err(error) = done
            && !self.has_failed
        {
            tracing::warn!("{FILE} was not written: {error}");
        }
        *self = Self {
            written: (!has_failed).then_some(halves),
            has_failed,
        };
    }
}

/// What an earlier agent's proxy served; nothing, if nobody has written that down.
pub(super) fn read(state: &Path) -> BTreeSet<(Protocol, u16)> {
    let path = state.join(FILE);
    let read = || -> io::Result<BTreeSet<(Protocol, u16)>> {
        let found = fs::metadata(&path)?;
        if !found.is_file() || found.len() > TOO_LARGE {
            return Err(io::Error::other("it is no file of Harbor's"));
        }
        Ok(serde_json::from_str(&fs::read_to_string(&path)?)?)
    };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!("{} is not believed: {error}", path.display());
        }
        BTreeSet::new()
    })
}

fn write(state: &Path, halves: &BTreeSet<(Protocol, u16)>) -> io::Result<()> {
    let path: PathBuf = state.join(FILE);
    if halves.is_empty() && !path.exists() {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&fresh)?;
    file.write_all(&serde_json::to_vec(halves)?)?;
    file.sync_all()?;
    fs::rename(&fresh, &path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_is_no_list_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path();
        assert_eq!(read(state), BTreeSet::new());
        write(state, &BTreeSet::new()).unwrap();
        assert!(!state.join(FILE).exists());
        let halves = BTreeSet::from([(Protocol::Tcp, 35_000), (Protocol::Udp, 35_001)]);
        write(state, &halves).unwrap();
        assert_eq!(read(state), halves);
        write(state, &BTreeSet::new()).unwrap();
        assert_eq!(read(state), BTreeSet::new());
        for wrong in ["", "{}", "[[\"tcp\",70000]]", "[1]"] {
            fs::write(state.join(FILE), wrong).unwrap();
            assert_eq!(read(state), BTreeSet::new(), "{wrong}");
        }
    }
}
