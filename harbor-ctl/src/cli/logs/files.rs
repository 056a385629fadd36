//! Log files: which belong to a part, their last lines, and lines added later.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use super::{LogLine, Part, stamp};
use crate::cli::failure::{Exit, Failure};

/// The start of a line: `2026-11-30T01:37:28.743816Z `
const DAY: usize = 10;

/// A part's last lines that were written since then.
pub(super) fn newest(
    folder: &Path,
    part: Part,
    (earliest, most): (Option<SystemTime>, usize),
) -> Result<Vec<LogLine>, Failure> {
    let mut lines = VecDeque::new();
    let first = earliest.map(stamp).unwrap_or_default();
    for (written, path) in files(folder, part).map_err(|error| unread(folder, &error))? {
        if earliest.is_some_and(|earliest| written < earliest) {
            continue;
        }
        let file = File::open(&path).map_err(|error| unread(&path, &error))?;
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(|error| unread(&path, &error))?;
            add(&mut lines, part, &String::from_utf8_lossy(&line));
            // One more is kept while it grows: what follows may belong to it.
            while lines.len() > most.saturating_add(1) {
                lines.pop_front();
            }
        }
    }
    let is_new = |line: &LogLine| line.time.get(..first.len()) >= Some(&first);
    let mut lines: Vec<LogLine> = lines.into_iter().filter(is_new).collect();
    let surplus = lines.len().saturating_sub(most);
    lines.drain(..surplus);
    Ok(lines)
}

/// A line begins with its time; one that does not belongs to the one before.
fn add(lines: &mut VecDeque<LogLine>, part: Part, text: &str) {
    match text.split_once(' ') {
        Some((time, rest)) if time.len() > DAY && time.as_bytes()[DAY] == b'T' => {
            lines.push_back(LogLine {
                time: time.to_owned(),
                part: part.name(),
                text: rest.trim_start().to_owned(),
            });
        }
        _ => {
            if let Some(last) = lines.back_mut().filter(|_| !text.is_empty()) {
                last.text.push('\n');
                last.text.push_str(text);
            }
        }
    }
}

/// Its files, the one that was written last at the end; links to them left out.
fn files(folder: &Path, part: Part) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let rest = name.strip_prefix(part.prefix());
        let is_own = rest.is_some_and(|rest| rest.starts_with('.') && rest.ends_with(".log"));
        if is_own && entry.file_type()?.is_file() {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

fn unread(path: &Path, error: &io::Error) -> Failure {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(Exit::Denied, "denied", text)
            .fix("run it as root, or as a member of the group harbor"),
        io::ErrorKind::NotFound => Failure::new(Exit::NotFound, "not-found", text)
            .fix("no agent has written there: see paths.log (harbor-ctl config get paths.log)"),
        _ => Failure::failed(text),
    }
}

/// Reads on where the last look ended, over rotations.
pub(super) struct Follower {
    path: PathBuf,
    part: Part,
    open: Option<File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Follower {
    /// From what is written from now on.
    pub(super) fn at_the_end(folder: &Path, part: Part) -> Self {
        let path = folder.join(format!("{}.log", part.prefix()));
        let mut open = File::open(&path).ok();
        if let Some(file) = &mut open {
            let _ = file.seek(SeekFrom::End(0));
        }
        Self {
            path,
            part,
            open,
            rest: Vec::new(),
        }
    }

    /// What was added since the last look.
    pub(super) fn more(&mut self) -> Vec<LogLine> {
        let mut bytes = std::mem::take(&mut self.rest);
        self.read(&mut bytes);
        let is_another = match (&self.open, fs::metadata(&self.path)) {
            (Some(file), Ok(now)) => file.metadata().is_ok_and(|own| own.ino() != now.ino()),
            (None, Ok(_)) => true,
            (_, Err(_)) => false,
        };
        if is_another {
            self.open = File::open(&self.path).ok();
            self.read(&mut bytes);
        }
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.rest = bytes.split_off(whole);
        let mut lines = VecDeque::new();
        for line in String::from_utf8_lossy(&bytes).lines() {
            add(&mut lines, self.part, line);
        }
        lines.into()
    }

    fn read(&mut self, bytes: &mut Vec<u8>) {
        let Some(file) = &mut self.open else { return };
        // One that was begun anew in its place is shorter than what was read of it.
        let (length, at) = (file.metadata().map(|own| own.len()), file.stream_position());
        if let (Ok(length), Ok(at)) = (length, at)
            && length < at
        {
            let _ = file.seek(SeekFrom::Start(0));
        }
        let _ = file.read_to_end(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const EARLY: &str = "2026-11-30T01:00:00.000001Z  INFO early\n";
    const LATE: &str = "2026-11-30T02:00:00.000001Z  WARN late\nit goes on\n";

    #[test]
    fn lines_are_whole_in_order_and_no_more_than_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("harbor_node.2026-11-30.log");
        fs::write(&file, format!("{EARLY}{LATE}")).unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("harbor_node.log")).unwrap();
        fs::write(folder.path().join("harbor_nodes.log"), EARLY).unwrap();
        let read = |most| newest(folder.path(), Part::Node, (None, most)).unwrap();
        let texts = |most| {
            read(most)
                .into_iter()
                .map(|line| line.text)
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(9), ["INFO early", "WARN late\nit goes on"]);
        assert_eq!(texts(1), ["WARN late\nit goes on"]);
        assert!(texts(0).is_empty());
        let now = Some(SystemTime::now() + std::time::Duration::from_secs(60));
        assert!(
            newest(folder.path(), Part::Node, (now, 9))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_follower_survives_rotation_and_shortening_and_halves_no_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("harbor_node.log");
        fs::write(&path, EARLY).unwrap();
        let mut follower = Follower::at_the_end(folder.path(), Part::Node);
        let mut texts = || {
            follower
                .more()
                .into_iter()
                .map(|l| l.text)
                .collect::<Vec<_>>()
        };
        assert!(texts().is_empty());
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(b"2026-11-30T03:00:00.1Z  INFO ha").unwrap();
        assert!(texts().is_empty());
        file.write_all(b"lf\n").unwrap();
        assert_eq!(texts(), ["INFO half"]);
        file.set_len(0).unwrap();
        file.write_all(EARLY.as_bytes()).unwrap();
        assert_eq!(texts(), ["INFO early"]);
        fs::rename(&path, folder.path().join("harbor_node.old.log")).unwrap();
        file.write_all(EARLY.as_bytes()).unwrap();
        fs::write(&path, LATE).unwrap();
        assert_eq!(texts(), ["INFO early", "WARN late\nit goes on"]);
    }
}
