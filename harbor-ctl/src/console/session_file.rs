//! Sessions outlive the agent's process, so that a page is connected again after a restart by itself. The
//! file holds digests alone: nobody can sign in with what stands there. Times are the wall clock's.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// Larger is none of ours, in bytes.
const LIMIT: u64 = 1024 * 1024;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// Digests: of what the cookie holds, and of the account as it was at sign-in.
    pub(super) key: [u8; 32],
    pub(super) account: [u8; 32],
    /// Seconds since 1970.
    pub(super) begun: u64,
    pub(super) seen: u64,
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// How long ago that was; none if it is still to come, as after a clock was set back.
pub(super) fn ago(moment: u64) -> Option<Duration> {
    now().checked_sub(moment).map(Duration::from_secs)
}

/// What was kept; nothing if there is none, or if it cannot be read.
pub(super) fn read(file: &Path) -> Vec<Record> {
    let is_ours = fs::metadata(file).is_ok_and(|about| about.len() <= LIMIT);
    let text = if is_ours {
        fs::read(file)
    } else {
        Ok(Vec::new())
    };
    serde_json::from_slice(&text.unwrap_or_default()).unwrap_or_default()
}

/// Aside first, so that a file is there whole or not at all. What a crash of the machine loses signs
/// somebody out.
pub(super) fn write(file: &Path, records: &[Record]) -> io::Result<()> {
    let aside = file.with_extension("new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(&aside)?
        .write_all(&serde_json::to_vec(records)?)?;
    fs::rename(&aside, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_no_file_of_ours_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sessions");
        assert_eq!(read(&file), []);
        let record = Record {
            key: [1; 32],
            account: [2; 32],
            begun: 3,
            seen: 4,
        };
        write(&file, std::slice::from_ref(&record)).unwrap();
        assert_eq!(read(&file), [record]);
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(&file, "{half").unwrap();
        assert_eq!(read(&file), []);
        assert_eq!(ago(now() + 100), None);
    }
}
