//! The events of a node on its disk: one JSON object a line, under `[paths].state`.
//!
//! The file is added to, and made anew from what is kept when it has grown too large, or is another
//! than this agent has left: a folder that was away comes back, a file was taken away, half a line was
//! written where the disk was full. What stands in it was written by an earlier agent, or by anybody:
//! what cannot be read is left out.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{control::Record, model::Event};

const FILE: &str = "events.jsonl";
/// The file is made anew at twice its size, but not before it is this large.
const LARGE: u64 = 8 * 1024 * 1024;
/// What is larger than this was written by somebody else.
const TOO_LARGE: u64 = 256 * 1024 * 1024;

/// The file, as this agent has left it.
#[derive(Debug)]
pub(super) struct EventRecord {
    path: PathBuf,
    length: u64,
    /// Made anew when it is longer than this.
    limit: u64,
}

impl EventRecord {
    /// Reads what earlier agents have written down. A file that cannot be read is put aside.
    pub(super) fn open(state: &Path) -> (Self, Vec<Event>) {
        let path = state.join(FILE);
        let (length, events) = match read(&path) {
            Ok((length, events)) => (length, events),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (0, Vec::new()),
            Err(error) => {
                let aside = state.join(format!("{FILE}.unread"));
                let moved = fs::rename(&path, &aside);
                let aside = aside.display();
                tracing::error!(
                    "{}: {error}; put aside as {aside}: {moved:?}",
                    path.display()
                );
                (0, Vec::new())
            }
        };
        let limit = LARGE.max(length.saturating_mul(2));
        let record = Self {
            path,
            length,
            limit,
        };
        (record, events)
    }

    fn add(&mut self, fresh: &[u8]) -> io::Result<bool> {
        let created = self.length == 0;
        let mut options = OpenOptions::new();
        options.append(true).create(created).mode(0o600);
        let mut file = match options.open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !created => return Ok(false),
            opened => opened?,
        };
        let found = file.metadata()?.len();
        let length = self.length + fresh.len() as u64;
        if found < self.length || length > self.limit {
            return Ok(false);
        }
        // Half a line, from when there was no room for the rest.
        if found > self.length {
            file.set_len(self.length)?;
        }
        file.write_all(fresh)?;
        self.length = length;
        Ok(true)
    }

    fn make_anew(&mut self, all: &[u8]) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        let written = (|| {
            let mut options = OpenOptions::new();
            let mut file = options
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(all)?;
            fs::rename(&fresh, &self.path)
        })();
        if let Err(error) = written {
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        self.length = all.len() as u64;
        self.limit = LARGE.max(self.length * 2);
        Ok(())
    }
}

impl Record for EventRecord {
    fn write(&mut self, kept: &VecDeque<Event>, fresh: usize) -> io::Result<()> {
        let fresh = lines(kept.range(kept.len().saturating_sub(fresh)..))?;
        match self.add(&fresh) {
            Ok(true) => Ok(()),
            Ok(false) => self.make_anew(&lines(kept.iter())?),
            Err(error) => Err(error),
        }
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}

fn lines<'a>(events: impl Iterator<Item = &'a Event>) -> io::Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, event)?;
        lines.push(b'\n');
    }
    Ok(lines)
}

/// How long the file is up to the end of its last whole line, and the events in it, in order.
fn read(path: &Path) -> io::Result<(u64, Vec<Event>)> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.len() > TOO_LARGE {
        return Err(io::Error::other("not a file that an agent has written"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let (mut events, mut spoilt) = (Vec::<Event>::new(), 0);
    for line in bytes[..whole]
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        match serde_json::from_slice::<Event>(line) {
            // Ids only rise; the highest is left free for the next.
            Ok(event)
                if event.id < u64::MAX >> 1
                    && events.last().is_none_or(|last| last.id < event.id) =>
            {
                events.push(event);
            }
            _ => spoilt += 1,
        }
    }
    if spoilt > 0 {
        tracing::warn!(
            "{}: {spoilt} lines were left out, they are no events",
            path.display()
        );
    }
    Ok((whole as u64, events))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventKind, Subject};

    fn event(id: u64) -> Event {
        Event {
            id,
            at: id,
            time: "2026-01-01T00:00:00Z".into(),
            kind: EventKind::PortChanged,
            text: "x".repeat(200),
            subject: Subject::default(),
            actor: None,
            changes: Vec::new(),
        }
    }

    fn ids(state: &Path) -> Vec<u64> {
        let (_, events) = EventRecord::open(state);
        events.iter().map(|event| event.id).collect()
    }

    /// Tells of events one by one, as the log does.
    fn tell(
        record: &mut EventRecord,
        kept: &mut VecDeque<Event>,
        ids: impl IntoIterator<Item = u64>,
    ) {
        for id in ids {
            kept.push_back(event(id));
            record.write(kept, 1).unwrap();
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_goes_on() {
        let state = tempfile::tempdir().unwrap();
        let (mut record, mut kept) = (EventRecord::open(state.path()).0, VecDeque::new());
        tell(&mut record, &mut kept, 1..=3);
        assert_eq!(ids(state.path()), [1, 2, 3]);
        let (mut record, events) = EventRecord::open(state.path());
        tell(&mut record, &mut events.into(), 4..=5);
        assert_eq!(ids(state.path()), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_file_that_is_another_than_it_was_left_is_put_right() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        let (mut record, mut kept) = (EventRecord::open(state.path()).0, VecDeque::new());
        tell(&mut record, &mut kept, 1..=3);
        // Half a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"id\":4,\"at").unwrap();
        tell(&mut record, &mut kept, [4]);
        assert_eq!(ids(state.path()), [1, 2, 3, 4]);
        // Gone, cut off, empty.
        fs::remove_file(&path).unwrap();
        tell(&mut record, &mut kept, [5]);
        assert_eq!(ids(state.path()), [1, 2, 3, 4, 5]);
        for length in [0, 7] {
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_len(length)
                .unwrap();
            let next = kept.len() as u64 + 1;
            tell(&mut record, &mut kept, [next]);
            assert_eq!(ids(state.path()), (1..=next).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_folder_that_was_away_has_everything_again() {
        let top = tempfile::tempdir().unwrap();
        let (state, away) = (top.path().join("state"), top.path().join("away"));
        fs::create_dir(&state).unwrap();
        let (mut record, mut kept) = (EventRecord::open(&state).0, VecDeque::new());
        tell(&mut record, &mut kept, 1..=2);
        fs::rename(&state, &away).unwrap();
        kept.push_back(event(3));
        let error = record.write(&kept, 1).unwrap_err().to_string();
        assert!(error.contains("events."), "{error}");
        fs::rename(&away, &state).unwrap();
        record.write(&kept, 1).unwrap();
        assert_eq!(ids(&state), [1, 2, 3]);
    }

    #[test]
    fn whatever_stands_in_the_file_no_agent_fails_over_it() {
        let line = serde_json::to_string(&event(7)).unwrap();
        for (content, expected) in [
            (String::new(), vec![]),
            ("\0".repeat(5_000), vec![]),
            ("\n\n{}\nnull\n[]\n".to_owned(), vec![]),
            (format!("{line}\nrubbish\n{line}\n"), vec![7]),
            (format!("{line}\n{}", &line[..20]), vec![7]),
            (
                line.replace(":7,", &format!(":{},", u64::MAX)) + "\n",
                vec![],
            ),
        ] {
            let state = tempfile::tempdir().unwrap();
            fs::write(state.path().join(FILE), &content).unwrap();
            let (mut record, events) = EventRecord::open(state.path());
            let mut kept = VecDeque::from(events);
            tell(&mut record, &mut kept, [8]);
            let expected: Vec<u64> = expected.into_iter().chain([8]).collect();
            assert_eq!(ids(state.path()), expected, "{content:?}");
        }
        // A folder in its place is put aside.
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join(FILE)).unwrap();
        let (mut record, _) = EventRecord::open(state.path());
        tell(&mut record, &mut VecDeque::new(), [1]);
        assert_eq!(ids(state.path()), [1]);
    }

    #[test]
    fn the_file_stays_within_bounds() {
        let state = tempfile::tempdir().unwrap();
        let (mut record, mut kept) = (EventRecord::open(state.path()).0, VecDeque::new());
        record.limit = 20_000;
        for id in 1..=1_000 {
            if kept.len() == 10 {
                kept.pop_front();
            }
            tell(&mut record, &mut kept, [id]);
            record.limit = 20_000;
            assert!(record.length <= 20_000);
        }
        assert!(ids(state.path()).ends_with(&[998, 999, 1_000]));
    }
}
