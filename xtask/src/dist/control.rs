//! What dpkg is told: name, version, what else is needed, checksums, and the scripts.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{architecture, tree::entries};
use crate::shell;

pub(super) const MAINTAINER: &str = "The Harbor developers <developers@harbor.invalid>";

const DESCRIPTION: &str = "\
public TCP and UDP ports for applications, forwarded in the kernel
 Harbor hands out public ports and forwards what comes in at them to the
 instances of an application, by programs in the Linux kernel (eBPF at TC),
 and by a proxy where the kernel cannot serve.
 .
 This package has the agent, its command line, the unit, documentation, alert
 rules for Prometheus and a dashboard for Grafana.";

/// Writes `DEBIAN/` below the staged tree.
pub(super) fn write(stage: &Path, version: &str) -> Result<()> {
    let control = stage.join("DEBIAN");
    // Before the folder is there: its files are none of the package's.
    let (sums, size) = (sums(stage)?, size(stage)?);
    fs::create_dir(&control).with_context(|| control.display().to_string())?;
    let fields = format!(
        "Package: harbor\nVersion: {version}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
         Installed-Size: {}\nDepends: {}, passwd\nRecommends: systemd\nSuggests: nftables, prometheus\n\
         Section: net\nPriority: optional\nDescription: {DESCRIPTION}\n",
        architecture()?,
        size.div_ceil(1_024),
        libraries(&stage.join("usr/bin/harbor-ctl"))?,
    );
    put(&control.join("control"), &fields, 0o644)?;
    put(&control.join("md5sums"), &sums, 0o644)?;
    put(
        &control.join("conffiles"),
        "/etc/harbor/harbor.toml\n",
        0o644,
    )?;
    for script in ["postinst", "prerm", "postrm"] {
        let from = shell::workspace()
            .join("harbor-ctl/dist/debian")
            .join(script);
        let text = fs::read_to_string(&from).with_context(|| from.display().to_string())?;
        put(&control.join(script), &text, 0o755)?;
    }
    Ok(())
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Every file of the tree, relative to it.
fn files(stage: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![stage.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for path in entries(&folder)? {
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(stage)?.to_path_buf()),
            }
        }
    }
    found.sort();
    Ok(found)
}

fn size(stage: &Path) -> Result<u64> {
    let sizes = files(stage)?
        .into_iter()
        .map(|file| Ok(fs::metadata(stage.join(file))?.len()));
    sizes.sum()
}

fn sums(stage: &Path) -> Result<String> {
    let files = files(stage)?;
    let own = files.iter().filter(|file| !file.starts_with("etc"));
    let said = Command::new("md5sum").current_dir(stage).args(own).output();
    Ok(String::from_utf8(
        said.context("cannot start md5sum")?.stdout,
    )?)
}

/// The C library, of the version that the program was linked with.
fn libraries(program: &Path) -> Result<String> {
    let said = Command::new("readelf")
        .args(["--wide", "--version-info"])
        .arg(program)
        .output();
    let said = String::from_utf8_lossy(&said.context("cannot start readelf")?.stdout).into_owned();
    let versions = said.split("GLIBC_").skip(1).filter_map(|rest| {
        let text: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        parts
    });
    let newest = versions
        .max()
        .context("the program is linked with no GNU C library")?;
    let newest: Vec<String> = newest.iter().map(ToString::to_string).collect();
    Ok(format!("libc6 (>= {}), libgcc-s1", newest.join(".")))
}
