//! Where maps and links are pinned: `<bpf>/v<LAYOUT>/{maps,links}`.
//!
//! The directories are private to the agent's user. Everything found there is checked before it is
//! used: owner, mode, no symbolic link, and of every map the shape, because aya 0.14 uses a pinned
//! map of any shape and then corrupts memory.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;
use harbor_common::maps::{ALL, FLOWS, FLOWS6, LAYOUT};
use rustix::fs::{FlockOperation, flock};

use super::object::{Shape, shapes};
use crate::datapath::error::{DatapathError, DatapathErrorKind, Tried as _};

/// `BPF_FS_MAGIC` of linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;
const PRIVATE: u32 = 0o700;
/// Marks tables that make room for others of the same layout.
const ASIDE: &str = "-former";

/// The pin directories of one installation.
#[derive(Clone, Debug)]
pub(crate) struct Pins {
    base: PathBuf,
    /// Of this layout: `v<LAYOUT>`, or that with [`ASIDE`].
    directory: String,
}

/// Held as long as an agent owns the pins.
#[derive(Debug)]
pub(crate) struct PinLock {
    _directory: File,
}

impl Pins {
    pub(crate) fn new(bpf: &Path) -> Self {
        Self {
            base: bpf.to_path_buf(),
            directory: format!("v{LAYOUT}"),
        }
    }

    /// Those of every layout that was ever pinned here, with its number.
    pub(crate) fn every_layout(bpf: &Path) -> Result<BTreeMap<(u32, String), Self>, DatapathError> {
        let entries = match fs::read_dir(bpf) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries.tried(|| format!("cannot read {}", bpf.display()))?,
        };
        let layout = |name: &str| {
            let number = name.strip_prefix('v')?;
            number
                .strip_suffix(ASIDE)
                .unwrap_or(number)
                .parse::<u32>()
                .ok()
        };
        let found = entries.flatten().filter_map(|entry| {
            let directory = entry.file_name().to_str()?.to_owned();
            let layout = layout(&directory)?;
            let base = bpf.to_path_buf();
            Some(((layout, directory.clone()), Self { base, directory }))
        });
        Ok(found.collect())
    }

    /// `<bpf>/v<LAYOUT>`
    pub(crate) fn version(&self) -> PathBuf {
        self.base.join(&self.directory)
    }

    pub(crate) fn maps(&self) -> PathBuf {
        self.version().join("maps")
    }

    pub(crate) fn map(&self, name: &str) -> PathBuf {
        self.maps().join(name)
    }

    pub(crate) fn links(&self) -> PathBuf {
        self.version().join("links")
    }

    /// All directories, outermost first.
    pub(crate) fn directories(&self) -> [PathBuf; 4] {
        [self.base.clone(), self.version(), self.maps(), self.links()]
    }

    /// Creates the directories where they are missing and checks them where they are not.
    pub(crate) fn prepare(&self) -> Result<(), DatapathError> {
        check_filesystem(&self.base)?;
        if let Some(parent) = self.base.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(PRIVATE)
                .create(parent)
                .tried(|| format!("cannot create {}", parent.display()))?;
        }
        for directory in self.directories() {
            match DirBuilder::new().mode(PRIVATE).create(&directory) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return Err(error).tried(|| format!("cannot create {}", directory.display()));
                }
                _ => check_private(&directory)?,
            }
        }
        Ok(())
    }

    /// Takes the pins for this agent alone.
    pub(crate) fn lock(&self) -> Result<PinLock, DatapathError> {
        let path = self.version();
        let directory = File::open(&path).tried(|| format!("cannot open {}", path.display()))?;
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(PinLock {
                _directory: directory,
            }),
            Err(_) => Err(DatapathError {
                kind: DatapathErrorKind::InUse,
                message: format!("another agent holds the datapath under {}", path.display()),
                fix: Some(
                    "stop it first (systemctl stop harbor), or give this one other [paths]".into(),
                ),
            }),
        }
    }

    /// Compares every pinned map with what the object declares.
    pub(crate) fn check_maps(&self, object: &[u8]) -> Result<(), DatapathError> {
        let declared = shapes(object)?;
        for name in ALL {
            let path = self.map(name);
            let (Some(pinned), Some(wanted)) = (pinned_shape(&path)?, declared.get(name)) else {
                continue;
            };
            // How many flows there can be is a setting; pinned tables keep theirs.
            let is_setting = [FLOWS, FLOWS6].contains(&name);
            let capacity_differs = !is_setting && pinned.max_entries != wanted.max_entries;
            let same_layout = Shape {
                max_entries: wanted.max_entries,
                ..pinned
            } == *wanted;
            if !same_layout || capacity_differs {
                return Err(DatapathError::foreign(
                    format!(
                        "the map pinned at {} has another layout than this version's: {} instead \
                         of {}",
                        path.display(),
                        describe(&pinned),
                        describe(wanted)
                    ),
                    "harbor-ctl datapath detach, then start the agent: open flows are lost, ports \
                     are not",
                ));
            }
        }
        Ok(())
    }

    /// What is pinned beside these, with its layout's number.
    pub(crate) fn others(&self) -> Result<Vec<(u32, Self)>, DatapathError> {
        let mut all = Self::every_layout(&self.base)?;
        all.retain(|(_, directory), _| *directory != self.directory);
        Ok(all
            .into_iter()
            .map(|((layout, _), pins)| (layout, pins))
            .collect())
    }

    /// How many entries the pinned flow tables have; `None` where there are none.
    pub(crate) fn flow_entries(&self) -> Result<Option<u32>, DatapathError> {
        Ok(pinned_shape(&self.map(FLOWS))?.map(|shape| shape.max_entries))
    }

    /// Makes room for tables of another size; those that are pinned keep serving meanwhile.
    pub(crate) fn step_aside(&self) -> Result<(), DatapathError> {
        let _lock = self.lock()?;
        let aside = Self {
            base: self.base.clone(),
            directory: format!("{}{ASIDE}", self.directory),
        };
        fs::rename(self.version(), aside.version())
            .tried(|| format!("cannot rename {}", self.version().display()))
    }
}

/// The shape of a pinned map; `None` where nothing is pinned.
pub(crate) fn pinned_shape(path: &Path) -> Result<Option<Shape>, DatapathError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).tried(|| format!("cannot read {}", path.display())),
        Ok(found) if found.is_symlink() => {
            return Err(DatapathError::foreign(
                format!("{} is a symbolic link, not a pinned map", path.display()),
                format!("remove it: rm {}", path.display()),
            ));
        }
        Ok(_) => {}
    }
    let info = MapInfo::from_pin(path).tried(|| format!("{} is no pinned map", path.display()))?;
    Ok(Some(Shape {
        kind: info.map_type().map_or(u32::MAX, |kind| kind as u32),
        key_bytes: info.key_size(),
        value_bytes: info.value_size(),
        max_entries: info.max_entries(),
    }))
}

fn describe(shape: &Shape) -> String {
    format!(
        "type {}, key {} B, value {} B, {} entries",
        shape.kind, shape.key_bytes, shape.value_bytes, shape.max_entries
    )
}

/// The nearest existing directory must lie on a BPF file system.
fn check_filesystem(base: &Path) -> Result<(), DatapathError> {
    let existing = base
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("/"));
    let found = rustix::fs::statfs(existing).tried(|| format!("{}", existing.display()))?;
    if found.f_type as u32 == BPF_FS_MAGIC {
        return Ok(());
    }
    let mount = base.parent().unwrap_or(base);
    Err(DatapathError::with_fix(
        format!("{} is not on a BPF file system", base.display()),
        format!("mount -t bpf bpf {}", mount.display()),
    ))
}

fn check_private(directory: &Path) -> Result<(), DatapathError> {
    let found = fs::symlink_metadata(directory).tried(|| format!("{}", directory.display()))?;
    let user = rustix::process::geteuid().as_raw();
    if !found.is_dir() {
        return Err(DatapathError::new(format!(
            "{} is not a directory",
            directory.display()
        )));
    }
    if found.uid() != user || found.mode() & 0o077 != 0 {
        return Err(DatapathError::with_fix(
            format!(
                "{} is open to others: owner {}, mode {:o}; it must belong to uid {user} with mode \
                 700",
                directory.display(),
                found.uid(),
                found.mode() & 0o7777
            ),
            format!("chown {user} {0} && chmod 700 {0}", directory.display()),
        ));
    }
    Ok(())
}

/// Removes a pin or directory; one that is not there is as good as removed.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    let removed = if path.is_dir() {
        fs::remove_dir(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
