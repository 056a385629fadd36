//! A log file that does not fill the disk.
//!
//! One that has grown to its limit is copied to `PREFIX.previous.log`, in place of the copy before, and
//! begun anew. Rotation by time stays what it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tracing_appender::rolling::{RollingFileAppender, RollingWriter};
use tracing_subscriber::fmt::MakeWriter;

/// The file is looked at whenever this part of its limit was written.
const STEP: u64 = 16;

/// Files of one prefix.
#[derive(Debug)]
pub(super) struct Capped {
    appender: RollingFileAppender,
    /// The file that is written now, or a link to it.
    current: PathBuf,
    previous: PathBuf,
    limit: u64,
    /// Since the last look.
    written: Mutex<u64>,
}

impl Capped {
    pub(super) fn new(
        appender: RollingFileAppender,
        (directory, prefix): (&Path, &str),
        limit: u64,
    ) -> Self {
        Self {
            appender,
            current: directory.join(format!("{prefix}.log")),
            previous: directory.join(format!("{prefix}.previous.log")),
            limit,
            // An agent that is restarted again and again looks each time.
            written: Mutex::new(limit),
        }
    }

    /// A file that cannot be shortened grows on: a log is worth more than its limit.
    fn count(&self, bytes: usize) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        *written += bytes as u64;
        if *written < self.limit / STEP {
            return;
        }
        *written = 0;
        let _ = self.shorten();
    }

    fn shorten(&self) -> io::Result<()> {
        if fs::metadata(&self.current)?.len() < self.limit {
            return Ok(());
        }
        fs::copy(&self.current, &self.previous)?;
        // The appender writes at the end, wherever that is.
        OpenOptions::new()
            .write(true)
            .open(&self.current)?
            .set_len(0)
    }
}

impl<'a> MakeWriter<'a> for Capped {
    type Writer = CappedWriter<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        CappedWriter {
            writer: self.appender.make_writer(),
            capped: self,
        }
    }
}

/// Writes one event.
pub(super) struct CappedWriter<'a> {
    writer: RollingWriter<'a>,
    capped: &'a Capped,
}

impl Write for CappedWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(octets)?;
        self.capped.count(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use tracing_appender::rolling::Rotation;

    use super::*;

    #[test]
    fn a_file_never_grows_far_beyond_its_limit() {
        for rotation in [Rotation::NEVER, Rotation::DAILY] {
            let folder = tempfile::tempdir().unwrap();
            let builder = RollingFileAppender::builder()
                .filename_prefix("part")
                .filename_suffix("log");
            let builder = match rotation {
                Rotation::NEVER => builder,
                _ => builder.latest_symlink("part.log"),
            };
            let appender = builder.rotation(rotation).build(folder.path()).unwrap();
            let capped = Capped::new(appender, (folder.path(), "part"), 1_600);
            for number in 0..1_000 {
                let line = format!("line {number:04}\n");
                capped.make_writer().write_all(line.as_bytes()).unwrap();
            }
            let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
            let both = read("part.previous.log") + &read("part.log");
            assert!(both.len() <= 2 * (1_600 + 110), "{}", both.len());
            assert!(both.ends_with("line 0999\n"), "{both}");
            let lines: Vec<&str> = both.lines().collect();
            let first: usize = lines[0][5..].parse().unwrap();
            assert_eq!(lines.len(), 1_000 - first, "no line is lost between them");
        }
    }
}
