//! harbor-ctl with everything in it that it needs of the C library, for systems that have another one, or
//! none.
//!
//! glibc has what looks up names of hosts, users and groups in files and by DNS in itself (2.34 and later),
//! so that nothing is loaded when it runs; other sources of `nsswitch.conf` are not asked.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{build, shell};

/// The one that a variable names, else built now: cargo builds all of it anew, for a target of its own.
pub(super) fn binary(profile: &str) -> Result<PathBuf> {
    let binary = match env::var_os("HARBOR_CTL_STATIC") {
        Some(path) => path.into(),
        None => build::find(&build::without_libraries(profile, &host()?)?, "harbor-ctl")?,
    };
    let needed = needed(&binary)?;
    if !needed.is_empty() {
        bail!("{} needs {}", binary.display(), needed.join(", "));
    }
    Ok(binary)
}

/// The machine that the compiler runs on, as it calls it.
fn host() -> Result<String> {
    let said = shell::output(Command::new("rustc").arg("-vV"))?;
    let mut lines = said.lines();
    let host = lines.find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it runs on")?.into())
}

/// Libraries that a program is loaded with.
fn needed(program: &Path) -> Result<Vec<String>> {
    let mut readelf = Command::new("readelf");
    let said = shell::output(readelf.args(["--wide", "--dynamic"]).arg(program))?;
    let lines = said.lines().filter(|line| line.contains("(NEEDED)"));
    let name = |line: &str| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned());
    Ok(lines.filter_map(name).collect())
}
