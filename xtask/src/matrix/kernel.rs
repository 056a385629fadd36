//! Debian's kernels: which one a suite ships today, and its files, unpacked.
//!
//! Names of packages are looked up by suite and not written down here, because they change with every
//! update. apt's lists are kept apart from the machine's own, which may be for other suites.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell;

/// The package that depends on the kernel of a suite.
const NEWEST: &str = "linux-image-amd64";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian, by the name that never changes, and why its kernel is tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// What `--kernel` calls it.
    pub(crate) kernel: &'static str,
}

/// From the oldest kernel to the newest.
pub(crate) const SUITES: [Suite; 3] = [
    Suite {
        name: "bookworm",
        kernel: "6.1",
    },
    Suite {
        name: "trixie",
        kernel: "6.12",
    },
    Suite {
        name: "sid",
        kernel: "newest",
    },
];

/// An unpacked kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    /// As `uname -r` says.
    pub(crate) release: String,
    pub(crate) image: PathBuf,
    /// What holds `lib/modules`.
    pub(crate) root: PathBuf,
}

/// apt with lists of its own, of one suite, below a folder.
struct Apt {
    suite: Suite,
    folder: PathBuf,
}

impl Kernel {
    /// The kernel that the suite ships, fetched and unpacked below `folder` if it is not there yet.
    pub(crate) fn of(suite: Suite, folder: &Path) -> Result<Self> {
        let apt = Apt::open(suite, &folder.join("apt").join(suite.name))?;
        let package = apt.kernel_package()?;
        let root = folder.join(&package);
        if !root.exists() {
            println!("matrix: fetching {package}");
            apt.unpack(&package, &root)?;
        }
        Self::unpacked(root)
    }

    fn unpacked(root: PathBuf) -> Result<Self> {
        let modules = root.join("lib/modules");
        if !modules.exists() {
            // Newer packages are made for a system whose /lib is /usr/lib.
            fs::create_dir_all(root.join("lib"))?;
            symlink("../usr/lib/modules", &modules)?;
        }
        let release = fs::read_dir(&modules)
            .with_context(|| modules.display().to_string())?
            .flatten()
            .next()
            .context("a kernel without modules")?
            .file_name()
            .to_string_lossy()
            .into_owned();
        let images = [
            root.join(format!("boot/vmlinuz-{release}")),
            modules.join(&release).join("vmlinuz"),
        ];
        let image = images.into_iter().find(|image| image.exists());
        shell::succeed(Command::new("depmod").arg("-b").arg(&root).arg(&release))?;
        Ok(Self {
            image: image.context("a kernel package without a kernel")?,
            release,
            root,
        })
    }
}

impl Apt {
    fn open(suite: Suite, folder: &Path) -> Result<Self> {
        let folder = folder.to_path_buf();
        let apt = Self { suite, folder };
        let sources = apt.folder.join("sources.list");
        if sources.exists() {
            return Ok(apt);
        }
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(apt.folder.join(below))?;
        }
        let (mirror, name) = (mirror()?, suite.name);
        let line = format!("deb [signed-by={KEYRING}] {mirror} {name} main\n");
        fs::write(&sources, line)?;
        let updated = shell::succeed(apt.command("apt-get").args(["-q", "update"]));
        if updated.is_err() {
            fs::remove_file(&sources)?;
        }
        updated.map(|()| apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let below = |name: &str| self.folder.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::SourceList={}", below("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".into(),
            format!("Dir::State::Lists={}", below("lists")),
            format!("Dir::Cache={}", below("cache")),
            "APT::Sandbox::User=".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    /// The package of the suite's kernel, as the suite's own meta package names it.
    fn kernel_package(&self) -> Result<String> {
        let wanted = self.depends(NEWEST)?;
        let kernel = wanted
            .into_iter()
            .find(|name| name.starts_with("linux-image-"));
        kernel.with_context(|| format!("{} has no {NEWEST}", self.suite.name))
    }

    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let shown =
            shell::output(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        Ok(depends(&shown))
    }

    /// Fetches the package, and those that its files are split over, and unpacks all of them.
    fn unpack(&self, package: &str, root: &Path) -> Result<()> {
        let version = package.trim_start_matches("linux-image-");
        let mut packages = self.depends(package)?;
        packages.retain(|name| name.starts_with("linux-") && name.contains(version));
        packages.push(package.to_owned());
        let archives = self.folder.join("archives");
        fs::create_dir_all(&archives)?;
        let mut download = self.command("apt-get");
        download
            .args(["-q", "download"])
            .args(&packages)
            .current_dir(&archives);
        shell::succeed(&mut download)?;
        // All or nothing: a half-unpacked kernel would be taken for a whole one.
        let unpacked = self.folder.join("unpacked");
        for archive in fs::read_dir(&archives)?.flatten() {
            let mut dpkg = Command::new("dpkg");
            shell::succeed(dpkg.arg("-x").arg(archive.path()).arg(&unpacked))?;
        }
        fs::remove_dir_all(&archives)?;
        fs::rename(&unpacked, root).with_context(|| root.display().to_string())
    }
}

/// The names in a package's `Depends`, the first of each choice.
fn depends(shown: &str) -> Vec<String> {
    let line = shown
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "));
    let names = line.unwrap_or_default().split(',');
    names
        .filter_map(|choice| choice.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// Where this machine gets its Debian packages.
fn mirror() -> Result<String> {
    let mut targets = Command::new("apt-get");
    targets.args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(ORIGIN)/$(LABEL)",
        "Created-By: Packages",
    ]);
    let targets = shell::output(&mut targets)?;
    let mut places = targets.lines().filter_map(|line| line.split_once(' '));
    match places.find(|(_, origin)| *origin == "Debian/Debian") {
        Some((mirror, _)) => Ok(mirror.to_owned()),
        None => bail!("apt knows no mirror of Debian: run apt-get update"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_a_meta_package_is_read_from_what_it_depends_on() {
        let shown = "Package: linux-image-amd64\n\
                     Depends: linux-image-6.1.0-50-amd64 (= 6.1.176-1), a | b\nSize: 1\n";
        assert_eq!(depends(shown), ["linux-image-6.1.0-50-amd64", "a"]);
        assert_eq!(depends("Package: a\n"), Vec::<String>::new());
    }
}
