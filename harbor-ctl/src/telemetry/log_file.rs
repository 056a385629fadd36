//! A log file that outlives its disk: what cannot be written waits, and is written when it can be.
//!
//! A disk that is full takes part of a line: the rest of it comes first afterwards, so no line is cut. What
//! is too much to wait is counted, and the file says how many lines it lacks. Whatever the file misses
//! stands on standard error, or in the journal.

use std::{
    collections::VecDeque,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

use super::capped::Capped;

/// Makes or opens the file.
pub(super) type Opener = Box<dyn Fn() -> io::Result<Capped> + Send + Sync>;

/// The most bytes that wait.
const WAITING: usize = 256 * 1024;

/// One component's log.
pub(super) struct LogFile {
    /// The file that is written now, or a link to it.
    path: PathBuf,
    opener: Opener,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<Capped>,
    /// Why it is not written.
    problem: Option<String>,
    waiting: VecDeque<u8>,
    /// Lines that were too many to wait.
    lost: usize,
}

impl LogFile {
    /// Opens it; one that cannot be opened is tried again by [`LogFile::look`].
    pub(super) fn open(path: PathBuf, opener: Opener) -> Self {
        let file = Self {
            path,
            opener,
            state: Mutex::default(),
        };
        file.look();
        file
    }

    /// Why it is not written.
    pub(super) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Opens it if it is not open or not there any more, and writes what waits.
    pub(super) fn look(&self) {
        let mut state = self.state();
        if state.file.is_none() || fs::metadata(&self.path).is_err() {
            match (self.opener)() {
                Ok(file) => state.file = Some(file),
                Err(error) => {
                    state.file = None;
                    state.problem = Some(self.named(&error));
                    return;
                }
            }
        }
        state.problem = state.write_late().err().map(|error| self.named(&error));
    }

    fn put(&self, line: &[u8]) {
        let mut state = self.state();
        if state.problem.is_none() && state.waiting.is_empty() {
            let Err((written, error)) = state.write_now(line) else {
                return;
            };
            state.problem = Some(self.named(&error));
            state.waiting.extend(&line[written..]);
        } else if state.lost == 0 && state.waiting.len() + line.len() <= WAITING {
            state.waiting.extend(line);
        } else {
            state.lost += 1;
        }
    }

    fn named(&self, error: &io::Error) -> String {
        let name = self.path.file_name().unwrap_or_default();
        format!("{}: {error}", Path::new(name).display())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Writes all of it, or says how much was written.
    fn write_now(&mut self, mut octets: &[u8]) -> Result<(), (usize, io::Error)> {
        let Some(file) = &self.file else {
            return Err((0, io::Error::other("it is not open")));
        };
        let whole = octets.len();
        while !octets.is_empty() {
            let written = match file.make_writer().write(octets) {
                Ok(0) => Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
                other => other,
            };
            match written {
                Ok(count) => octets = &octets[count..],
                Err(error) => return Err((whole - octets.len(), error)),
            }
        }
        Ok(())
    }

    /// Writes what waits, and how many lines are missing after it.
    fn write_late(&mut self) -> io::Result<()> {
        loop {
            let waiting: Vec<u8> = self.waiting.iter().copied().collect();
            if let Err((written, error)) = self.write_now(&waiting) {
                self.waiting.drain(..written);
                return Err(error);
            }
            self.waiting.clear();
            if self.lost == 0 {
                return Ok(());
            }
            let lines = crate::model::counted(std::mem::take(&mut self.lost), "line");
            let note = format!("(the disk could not take {lines} that belong here)\n");
            self.waiting.extend(note.as_bytes());
        }
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Line(self)
    }
}

/// Writes one event.
pub(super) struct Line<'a>(&'a LogFile);

impl Write for Line<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.put(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_appender::rolling::{RollingFileAppender, Rotation};

    use super::*;

    fn file(folder: &Path) -> LogFile {
        let folder = folder.to_owned();
        let opened = folder.clone();
        let opener = move || {
            let builder = RollingFileAppender::builder()
                .rotation(Rotation::NEVER)
                .filename_prefix("part")
                .filename_suffix("log");
            let appender = builder.build(&opened).map_err(io::Error::other)?;
            Ok(Capped::new(appender, (&opened, "part"), 1 << 30))
        };
        LogFile::open(folder.join("part.log"), Box::new(opener))
    }

    #[test]
    fn what_could_not_be_written_is_written_when_it_can_be() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("log");
        fs::write(&folder, "no folder").unwrap();
        let log = file(&folder);
        assert!(log.problem().unwrap().starts_with("part.log: "));
        log.put(b"one\n");
        let long = [b'x'; WAITING];
        log.put(&long);
        log.put(b"two\n");
        fs::remove_file(&folder).unwrap();
        log.look();
        assert_eq!(log.problem(), None);
        log.put(b"three\n");
        let read = || fs::read_to_string(folder.join("part.log")).unwrap();
        let note = "(the disk could not take 2 lines that belong here)\n";
        assert_eq!(read(), format!("one\n{note}three\n"));
        // A folder that was taken away is made again, as one that was never there.
        fs::remove_dir_all(&folder).unwrap();
        log.look();
        log.put(b"four\n");
        assert_eq!(read(), "four\n");
    }
}
