//! A clock that is wrong, for single processes: Debian's libfaketime tells them another time of day.
//! Clocks that only go on are left alone, as on a host whose clock is set.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What a process is told of the time; it hears within a second of a change.
#[derive(Debug)]
pub struct WrongClock {
    file: PathBuf,
}

impl WrongClock {
    /// A clock that is right so far.
    #[track_caller]
    pub fn new(folder: &Path, name: &str) -> Self {
        let clock = Self {
            file: folder.join(format!("{name}.clock")),
        };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead of the right time.
    #[track_caller]
    pub fn set(&self, ahead: i64) {
        // Whole at every moment: it is read all the time.
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, format!("{ahead:+}\n")).unwrap();
        fs::rename(fresh, &self.file).unwrap();
    }

    /// The environment of a process that is to see it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let file = self.file.display().to_string();
        let pairs = [
            ("LD_PRELOAD", library().display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_CACHE_DURATION", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ];
        pairs.map(|(name, value)| (name.into(), value)).into()
    }
}

/// The library, wherever this architecture has its own.
#[track_caller]
fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let places = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let mut found = places.filter(|path| path.exists());
    found
        .next()
        .expect("no libfaketime: apt-get install faketime")
}
