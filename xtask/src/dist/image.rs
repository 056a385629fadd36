//! The container image: the package on Debian, by whichever builder there is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::shell;

/// All three take the same words.
const BUILDERS: [&str; 3] = ["docker", "podman", "buildah"];
const FILE: &str = "harbor-ctl/dist/Dockerfile";

/// The builder that is here. Asked before anything is built.
pub(super) fn builder() -> Result<&'static str> {
    let mut builders = BUILDERS.into_iter();
    let found = builders.find(|name| shell::which(name).is_some());
    match found {
        Some(name) => Ok(name),
        None => bail!(
            "none of {} is here to build an image: apt-get install buildah",
            BUILDERS.join(", ")
        ),
    }
}

/// Builds an image of this name from the package.
pub(super) fn build(builder: &str, name: &str, (package, out): (&Path, &Path)) -> Result<()> {
    let folder: PathBuf = out.join("image");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    fs::copy(package, folder.join("harbor.deb"))?;
    fs::copy(shell::workspace().join(FILE), folder.join("Dockerfile"))?;
    let mut build = Command::new(builder);
    let built = shell::succeed(build.args(["build", "--tag", name]).arg(&folder));
    fs::remove_dir_all(&folder)?;
    built
}
