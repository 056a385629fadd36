//! A disk of a few megabytes, to be filled up: what a full disk does is not to be had otherwise.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use crate::bpffs::unmount;

/// A mounted tmpfs; it is gone with this guard, and what is on it too.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes at a folder, which is made.
    #[track_caller]
    pub fn mount(path: &Path, bytes: u64) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={bytes},mode=0700");
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(&*options))
            .unwrap_or_else(|error| panic!("a tmpfs at {}: {error}", path.display()));
        Self { path: path.into() }
    }

    /// Leaves no room, however much there was made meanwhile.
    ///
    /// Fault: agent.
    #[track_caller]
    pub fn fill(&self) {
        let mut filler = File::options()
            .append(true)
            .create(true)
            .open(self.filler())
            .unwrap();
        let block = [1; 4096];
        loop {
            match filler.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Makes room again.
    #[track_caller]
    pub fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}
