//! A copy of this machine's Debian, or of another one, that costs nothing: what is written lands in
//! memory, and is gone with the guard.

use std::{
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use kit::{Finished, Lab, Netns, finish};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Written by whatever is installed, whoever that is; and what tests bring.
const NOT_OURS: [&str; 11] = [
    "var/lib/dpkg",
    "var/cache",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/apt",
    "var/lib/apt",
    "etc/group-",
    "etc/gshadow-",
    "etc/.pwd.lock",
    "root",
    "tmp",
];

/// A root directory in which programs run on the lab's node.
pub(super) struct Root {
    path: PathBuf,
    /// What it is a copy of.
    lower: PathBuf,
    upper: PathBuf,
    node: Netns,
    mounts: Vec<PathBuf>,
}

impl Root {
    #[track_caller]
    pub(super) fn new(lab: &Lab) -> Self {
        Self::of(lab, Path::new("/"))
    }

    /// A copy of the system in this folder.
    #[track_caller]
    pub(super) fn of(lab: &Lab, lower: &Path) -> Self {
        let folder = lab.folder();
        let mut root = Self {
            path: folder.join("root"),
            lower: lower.into(),
            upper: folder.join("disk/upper"),
            node: lab.node.clone(),
            mounts: Vec::new(),
        };
        let disk = folder.join("disk");
        root.mount(("tmpfs", &disk), "tmpfs", "size=1g,mode=0755");
        for name in ["upper", "work"] {
            fs::create_dir(disk.join(name)).unwrap();
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.display(),
            disk.join("upper").display(),
            disk.join("work").display()
        );
        let path = root.path.clone();
        root.mount(("overlay", &path), "overlay", &layers);
        let dev = path.join("dev");
        mount(
            Some("/dev"),
            &dev,
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        root.mounts.push(dev);
        root.mount(("proc", &path.join("proc")), "proc", "");
        root.mount(("tmpfs", &path.join("run")), "tmpfs", "mode=0755");
        root.mount(("sysfs", &path.join("sys")), "sysfs", "");
        root.mount(("bpf", &path.join("sys/fs/bpf")), "bpf", "mode=0700");
        root
    }

    fn mount(&mut self, (what, at): (&str, &Path), kind: &str, options: &str) {
        fs::create_dir_all(at).unwrap();
        mount(Some(what), at, Some(kind), MsFlags::empty(), Some(options))
            .unwrap_or_else(|error| panic!("{kind} at {}: {error}", at.display()));
        self.mounts.push(at.into());
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the agent pins.
    pub(super) fn pins(&self) -> PathBuf {
        self.path.join("sys/fs/bpf")
    }

    /// Copies a file in; its name there.
    #[track_caller]
    pub(super) fn bring(&self, file: &Path) -> String {
        let name = file.file_name().unwrap();
        fs::copy(file, self.path.join("root").join(name)).unwrap();
        format!("/root/{}", name.display())
    }

    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.node.command("chroot");
        command.arg(&self.path).args(words);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        command
    }

    pub(super) fn run(&self, words: &[&str]) -> Finished {
        finish(&mut self.command(words))
    }

    /// In what it differs from what it is a copy of: files that were left, changed or removed.
    pub(super) fn changes(&self) -> Vec<String> {
        let mut changes = Vec::new();
        let mut folders = vec![self.upper.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let inside = path.strip_prefix(&self.upper).unwrap();
                if NOT_OURS.iter().any(|name| inside.starts_with(name)) {
                    continue;
                }
                let original = self.lower.join(inside);
                let kind = fs::symlink_metadata(&path).unwrap().file_type();
                let word = match (kind.is_char_device(), original.symlink_metadata().is_ok()) {
                    (true, _) => Some("removed"),
                    (false, false) => Some("left"),
                    (false, true) if kind.is_dir() => None,
                    (false, true) => {
                        let is_same = fs::read(&path).ok() == fs::read(&original).ok();
                        (!is_same).then_some("changed")
                    }
                };
                changes.extend(word.map(|word| format!("{word}: {}", inside.display())));
                if kind.is_dir() {
                    folders.push(path);
                }
            }
        }
        changes.sort();
        changes
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for mounted in self.mounts.iter().rev() {
            let _ = umount2(mounted, MntFlags::MNT_DETACH);
        }
    }
}
