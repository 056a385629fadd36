//! One build for everything: all packages in one profile, so that nothing is compiled twice.

use std::{env, path::PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{setup, shell};

/// An executable that cargo has made.
#[derive(Debug)]
pub(crate) struct Executable {
    /// The package's name, for example `harbor-ctl`.
    pub(crate) package: String,
    /// The target's name, for example `suite`.
    pub(crate) target: String,
    /// Its package's folder, where cargo would start it.
    pub(crate) folder: PathBuf,
    pub(crate) path: PathBuf,
    pub(crate) is_test: bool,
}

/// Builds every program, with the eBPF object inside harbor-ctl.
pub(crate) fn programs() -> Result<Vec<Executable>> {
    build(&["build", "--workspace", "--bins"])
}

/// Builds every program in the profile that is shipped.
pub(crate) fn release() -> Result<Vec<Executable>> {
    build(&["build", "--workspace", "--bins", "--release"])
}

/// Builds every program with this profile.
pub(crate) fn with_profile(profile: &str) -> Result<Vec<Executable>> {
    build(&["build", "--workspace", "--bins", "--profile", profile])
}

/// Builds harbor-ctl with this profile so that it is loaded without any library.
pub(crate) fn without_libraries(profile: &str, target: &str) -> Result<Vec<Executable>> {
    let flags = "[\"-C\", \"target-feature=+crt-static\"]";
    let config = format!("target.{target}.rustflags = {flags}");
    let package = ["build", "--package", "harbor-ctl", "--profile", profile];
    build(&[&package[..], &["--target", target, "--config", &config]].concat())
}

/// Builds every test, and the programs that they start: those of packages with integration tests.
pub(crate) fn tests() -> Result<Vec<Executable>> {
    build(&["test", "--workspace", "--no-run"])
}

/// A program of the workspace: the one that a variable names (`HARBOR_CTL`), or else built now.
pub(crate) fn program(target: &str) -> Result<PathBuf> {
    match env::var_os(target.to_uppercase().replace('-', "_")) {
        Some(path) => Ok(path.into()),
        None => {
            setup::run(setup::Wish::Build)?;
            find(&programs()?, target)
        }
    }
}

/// The program of this name among those built.
pub(crate) fn find(executables: &[Executable], target: &str) -> Result<PathBuf> {
    let found = executables
        .iter()
        .find(|found| found.target == target && !found.is_test);
    Ok(found
        .with_context(|| format!("cargo has built no {target}"))?
        .path
        .clone())
}

fn build(arguments: &[&str]) -> Result<Vec<Executable>> {
    let mut command = shell::cargo(arguments);
    command.args(["--locked", "--message-format", "json-render-diagnostics"]);
    command.env("HARBOR_EBPF", "require");
    let messages = shell::output(&mut command)?;
    Ok(messages.lines().filter_map(executable).collect())
}

/// Reads one of cargo's messages; `None` if it is about anything but an executable.
fn executable(line: &str) -> Option<Executable> {
    let message: Value = serde_json::from_str(line).ok()?;
    let path = message["executable"].as_str()?.into();
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let folder = manifest.parent()?.to_path_buf();
    Some(Executable {
        package: folder.file_name()?.to_string_lossy().into_owned(),
        target: message["target"]["name"].as_str()?.into(),
        is_test: message["profile"]["test"].as_bool()?,
        folder,
        path,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_an_executable_is_none() {
        assert!(executable(r#"{"reason":"build-finished","success":true}"#).is_none());
        assert!(executable("not json").is_none());
    }

    #[test]
    fn an_executable_is_read_with_its_folder() {
        let line = r#"{"executable":"/t/suite","manifest_path":"/w/tests/Cargo.toml",
            "target":{"name":"suite"},"profile":{"test":true}}"#;
        let suite = executable(line).unwrap();
        assert_eq!(
            (suite.package.as_str(), suite.target.as_str()),
            ("tests", "suite")
        );
        assert!(suite.is_test);
        assert_eq!(suite.folder, PathBuf::from("/w/tests"));
    }
}
