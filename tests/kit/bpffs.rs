//! A BPF file system of a lab's own: what is pinned in it ends with it.
//!
//! Mounted in the machine's mount namespace, because agents and tools must see it too.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// A mounted bpffs.
#[derive(Debug)]
pub(crate) struct Bpffs {
    path: PathBuf,
}

impl Bpffs {
    /// Mounts one at a folder, which is made.
    pub(crate) fn mount(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), &path, Some("bpf"), flags, Some("mode=0700"))
            .unwrap_or_else(|error| panic!("a bpffs at {}: {error}", path.display()));
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Unmounts everything at a path; it is no error if there is nothing.
pub(crate) fn unmount(path: &Path) {
    // Lazily, so that a process that still looks at it cannot keep it for the next test.
    while umount2(path, MntFlags::MNT_DETACH).is_ok() {}
}
