//! Numbers that the kernel must not give to the host's own connections:
//! `net.ipv4.ip_local_reserved_ports`, which holds for both families.
//!
//! Others have entries there too: only what was added here is ever taken out again. A file in the
//! state directory remembers it, with the boot and the network namespace that it belongs to.

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::error::{DatapathError, Tried as _};
use crate::model::PortSet;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const LOCAL_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const BOOT: &str = "/proc/sys/kernel/random/boot_id";
const NAMESPACE: &str = "/proc/self/ns/net";
const RECORD: &str = "reserved_ports";
/// Longer than the kernel's longest list: every second number, 191,047 bytes.
const LONGEST_LIST: usize = 256 * 1024;

/// Where the kernel's list and our record are.
struct Places {
    reserved: PathBuf,
    record: PathBuf,
    /// Boot and namespace: whose list it is.
    list: String,
}

/// Makes exactly these numbers reserved on our account, in addition to what others reserved.
pub(crate) fn reserve(state: &Path, wanted: &PortSet) -> Result<(), DatapathError> {
    Places::of(state)?.settle(wanted)
}

/// Takes out what was reserved on our account; answers with it.
pub(crate) fn release(state: &Path) -> Result<PortSet, DatapathError> {
    Places::of(state)?.release()
}

/// What the kernel keeps from outgoing connections, on whoever's account.
pub(crate) fn reserved() -> Result<PortSet, DatapathError> {
    current(Path::new(RESERVED))
}

/// Reserves numbers on nobody's account: they stay.
pub(crate) fn add_reserved(more: &PortSet) -> Result<(), DatapathError> {
    let path = Path::new(RESERVED);
    write(path, &current(path)?.with(more))
}

/// Numbers that the kernel gives to outgoing connections.
pub(crate) fn local_range() -> Result<PortSet, DatapathError> {
    let text = read_once(Path::new(LOCAL_RANGE)).tried(|| format!("cannot read {LOCAL_RANGE}"))?;
    let range = text.split_whitespace().collect::<Vec<_>>().join("-");
    range.parse().map_err(|error: String| {
        DatapathError::new(format!("{LOCAL_RANGE} holds {text:?}: {error}"))
    })
}

/// Reads a value of the kernel's in one call. It answers a second one with the end of the file,
/// however much the first one left behind, so a list in a small buffer would lose its tail.
fn read_once(path: &Path) -> io::Result<String> {
    let mut text = vec![0; LONGEST_LIST];
    let length = fs::File::open(path)?.read(&mut text)?;
    if length == text.len() {
        return Err(io::Error::other("it is longer than any list of ports"));
    }
    text.truncate(length);
    String::from_utf8(text).map_err(io::Error::other)
}

fn current(path: &Path) -> Result<PortSet, DatapathError> {
    let shown = path.display();
    let text = read_once(path).tried(|| format!("cannot read {shown}"))?;
    let parsed = text.parse();
    parsed.map_err(|error: String| DatapathError::new(format!("{shown}: {error}")))
}

/// Replaces the kernel's list, and sees that it is what was written.
fn write(path: &Path, next: &PortSet) -> Result<(), DatapathError> {
    let shown = path.display();
    let failed = |why: String| {
        DatapathError::with_fix(
            format!("ports cannot be reserved: {shown}: {why}"),
            format!("sysctl -w net.ipv4.ip_local_reserved_ports={next}"),
        )
    };
    // An empty list is a line too: a write of nothing is none.
    fs::write(path, format!("{next}\n")).map_err(|error| failed(error.to_string()))?;
    let found = current(path)?;
    if found != *next {
        return Err(failed(format!("it holds {found} after the write")));
    }
    Ok(())
}

impl Places {
    fn of(state: &Path) -> Result<Self, DatapathError> {
        let boot = read_once(Path::new(BOOT)).tried(|| format!("cannot read {BOOT}"))?;
        let namespace = fs::metadata(NAMESPACE).tried(|| format!("cannot read {NAMESPACE}"))?;
        Ok(Self {
            reserved: RESERVED.into(),
            record: state.join(RECORD),
            list: format!("{} {}", boot.trim(), namespace.ino()),
        })
    }

    fn release(&self) -> Result<PortSet, DatapathError> {
        let ours = self.ours()?;
        if ours != PortSet::default() {
            self.settle(&PortSet::default())?;
            let record = &self.record;
            fs::remove_file(record).tried(|| format!("cannot remove {}", record.display()))?;
        }
        Ok(ours)
    }

    fn settle(&self, wanted: &PortSet) -> Result<(), DatapathError> {
        let current = current(&self.reserved)?;
        let ours = self.ours()?.common(&current);
        let others = current.clone().without(&ours);
        let mine = wanted.clone().without(&others);
        let next = others.with(wanted);
        if next == current {
            return self.remember(&mine);
        }
        // Whatever happens in between, nothing that is ours is taken for somebody else's.
        self.remember(&ours.with(&mine))?;
        write(&self.reserved, &next)?;
        self.remember(&mine)
    }

    /// What was added to this list; the kernel forgets it with the boot or the namespace.
    fn ours(&self) -> Result<PortSet, DatapathError> {
        let what = || format!("cannot read {}", self.record.display());
        let text = match fs::read_to_string(&self.record) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PortSet::default()),
            text => text.tried(what)?,
        };
        match text.split_once('\n') {
            Some((list, ports)) if list == self.list => Ok(ports.parse().unwrap_or_default()),
            _ => Ok(PortSet::default()),
        }
    }

    fn remember(&self, ours: &PortSet) -> Result<(), DatapathError> {
        let what = || format!("cannot write {}", self.record.display());
        let text = format!("{}\n{ours}\n", self.list);
        if fs::read_to_string(&self.record).is_ok_and(|held| held == text) {
            return Ok(());
        }
        let fresh = self.record.with_extension("new");
        let mut file = fs::File::create(&fresh).tried(what)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .tried(what)?;
        fs::rename(&fresh, &self.record).tried(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(directory: &tempfile::TempDir, list: &str) -> Places {
        Places {
            reserved: directory.path().join("list"),
            record: directory.path().join(RECORD),
            list: list.into(),
        }
    }

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    fn list(places: &Places) -> String {
        fs::read_to_string(&places.reserved).unwrap().trim().into()
    }

    #[test]
    fn what_others_reserved_stays_whatever_we_add_and_take_out() {
        let directory = tempfile::tempdir().unwrap();
        let places = places(&directory, "one");
        fs::write(&places.reserved, "8080,35500-36000\n").unwrap();
        places.settle(&set("35000-40000")).unwrap();
        assert_eq!(list(&places), "8080,35000-40000");
        places.settle(&set("36000-36010,50000")).unwrap();
        assert_eq!(list(&places), "8080,35500-36010,50000");
        // Somebody adds one meanwhile.
        fs::write(&places.reserved, "8080,9000,35500-36010,50000").unwrap();
        places.settle(&PortSet::default()).unwrap();
        assert_eq!(list(&places), "8080,9000,35500-36000");
    }

    #[test]
    fn what_belongs_to_another_boot_or_namespace_is_somebody_elses() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("list"), "").unwrap();
        places(&directory, "one")
            .settle(&set("35000-35009"))
            .unwrap();
        let second = places(&directory, "two");
        assert_eq!(second.release().unwrap(), PortSet::default());
        assert_eq!(list(&second), "35000-35009");
        let first = places(&directory, "one");
        assert_eq!(first.release().unwrap(), set("35000-35009"));
        assert_eq!(list(&first), "");
        assert!(!first.record.exists());
    }

    #[test]
    fn a_list_that_does_not_become_what_was_written_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            reserved: "/dev/null".into(),
            ..places(&directory, "one")
        };
        let error = places.settle(&set("35000")).unwrap_err();
        assert!(
            error.message.contains("after the write"),
            "{}",
            error.message
        );
        assert!(error.fix.is_some());
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            reserved: "/proc/version".into(),
            ..places(&directory, "one")
        };
        assert!(places.settle(&set("1")).is_err());
    }

    #[test]
    fn the_hosts_own_range_is_read() {
        assert_ne!(local_range().unwrap(), PortSet::default());
    }
}
