//! The files of the package, each where Debian's policy has it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Files below harbor-ctl/dist, and where they go.
const FILES: [(&str, &str); 6] = [
    ("harbor.service", "lib/systemd/system/harbor.service"),
    ("harbor.sysusers", "usr/lib/sysusers.d/harbor.conf"),
    ("harbor.tmpfiles", "usr/lib/tmpfiles.d/harbor.conf"),
    ("harbor.toml", "etc/harbor/harbor.toml"),
    ("debian/copyright", "usr/share/doc/harbor/copyright"),
    (
        "debian/lintian-overrides",
        "usr/share/lintian/overrides/harbor",
    ),
];

/// Folders that are copied whole, below the documentation.
const FOLDERS: [(&str, &str); 3] = [
    ("docs", "docs"),
    ("harbor-ctl/dist/prometheus", "prometheus"),
    ("harbor-ctl/dist/grafana", "grafana"),
];

/// Shells, and where their completions are looked for.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/harbor-ctl"),
    ("zsh", "usr/share/zsh/vendor-completions/_harbor-ctl"),
    (
        "fish",
        "usr/share/fish/vendor_completions.d/harbor-ctl.fish",
    ),
];

const DOC: &str = "usr/share/doc/harbor";

/// Puts everything below a folder that is empty.
pub(super) fn stage(stage: &Path, binary: &Path, version: &str) -> Result<()> {
    let (root, dist) = (
        shell::workspace(),
        shell::workspace().join("harbor-ctl/dist"),
    );
    program(stage, binary)?;
    for (from, to) in FILES {
        copy(&dist.join(from), &stage.join(to), 0o644)?;
    }
    folder(&stage.join("etc/harbor/conf.d"))?;
    for (shell_name, to) in COMPLETIONS {
        let script = said(binary, &["completions", shell_name])?;
        write(&stage.join(to), &script)?;
    }
    let pages = stage.join("usr/share/man/man1");
    folder(&pages)?;
    let to = pages.display().to_string();
    said(binary, &["manual", "--to", &to])?;
    for page in entries(&pages)? {
        fs::set_permissions(&page, fs::Permissions::from_mode(0o644))?;
        compress(&page)?;
    }
    for (from, to) in FOLDERS {
        copy_folder(&root.join(from), &stage.join(DOC).join(to))?;
    }
    for file in ["README.md", "CHANGELOG.md"] {
        copy(&root.join(file), &stage.join(DOC).join(file), 0o644)?;
    }
    let changes = stage.join(DOC).join("changelog");
    write(&changes, changelog(version)?.as_bytes())?;
    compress(&changes)
}

/// The program, without what only a debugger reads.
pub(super) fn program(stage: &Path, binary: &Path) -> Result<()> {
    let program = stage.join("usr/bin/harbor-ctl");
    copy(binary, &program, 0o755)?;
    shell::succeed(Command::new("strip").arg("--strip-unneeded").arg(&program))
}

/// Debian's form of the changes, which stand in CHANGELOG.md.
fn changelog(version: &str) -> Result<String> {
    let mut git = Command::new("git");
    git.current_dir(shell::workspace())
        .args(["log", "-1", "--format=%cD"]);
    let said = git.output().context("cannot start git")?;
    let date = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    Ok(format!(
        "harbor ({version}) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- {}  {date}\n",
        super::control::MAINTAINER
    ))
}

fn said(program: &Path, words: &[&str]) -> Result<Vec<u8>> {
    let said = Command::new(program).args(words).output();
    let said = said.with_context(|| format!("cannot start {}", program.display()))?;
    if !said.status.success() {
        bail!(
            "{} {}: {}",
            program.display(),
            words.join(" "),
            String::from_utf8_lossy(&said.stderr)
        );
    }
    Ok(said.stdout)
}

fn folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| path.display().to_string())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    folder(path.parent().unwrap_or(path))?;
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))?;
    Ok(())
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    folder(to.parent().unwrap_or(to))?;
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in entries(from)? {
        let name = to.join(entry.file_name().unwrap_or_default());
        match entry.is_dir() {
            true => copy_folder(&entry, &name)?,
            false => copy(&entry, &name, 0o644)?,
        }
    }
    Ok(())
}

/// What a folder holds, in order.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = read
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Without name and time: the same text makes the same file.
fn compress(path: &Path) -> Result<()> {
    shell::succeed(Command::new("gzip").args(["-9", "-n"]).arg(path))
}
