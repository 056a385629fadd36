//! `dist`: the Debian package, from a clean clone, and a tarball of the same files.
//!
//! The tree is staged here and handed to dpkg-deb: cargo-deb would be a second build as large as
//! Harbor's own, for a dozen files. What belongs where stands in [`tree`]; what dpkg is told in
//! [`control`].

mod control;
mod fixed;
mod image;
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{build, progress::Progress, setup, shell};

/// What to build, and where it goes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// cargo's profile that harbor-ctl is built with: release is what ships
    #[arg(long, value_name = "NAME", default_value = "release")]
    profile: String,
    /// The folder for the package [default: target/dist]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The package's version
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"), value_parser = version)]
    package_version: String,
    /// Makes a second tarball whose harbor-ctl needs no library, by a build of its own
    #[arg(long = "static")]
    is_static: bool,
    /// Builds a container image of this name too, with docker, podman or buildah
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
}

impl Arguments {
    /// How many steps it takes.
    fn steps(&self) -> u64 {
        4 + 2 * u64::from(self.is_static) + u64::from(self.image.is_some())
    }
}

fn version(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || ".+~".contains(c);
    match text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(good) {
        true => Ok(text.to_owned()),
        false => {
            Err("a version begins with a digit, and has letters, digits, '.', '+' and '~'".into())
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    for program in ["dpkg-deb", "strip", "gzip", "tar", "readelf"] {
        if shell::which(program).is_none() {
            bail!("{program} is missing: apt-get install dpkg-dev binutils");
        }
    }
    let builder = arguments.image.as_ref().map(|_| image::builder());
    let builder = builder.transpose()?;
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => shell::workspace().join("target").join("dist"),
    };
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let progress = Progress::steps(arguments.steps());
    progress.step("building harbor-ctl");
    let binary = binary(&arguments.profile)?;
    let static_binary = match arguments.is_static {
        true => {
            progress.step("building harbor-ctl without libraries");
            Some(fixed::binary(&arguments.profile)?)
        }
        false => None,
    };
    progress.step("collecting files");
    let stage = out.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    tree::stage(&stage, &binary, &arguments.package_version)?;
    control::write(&stage, &arguments.package_version)?;
    let name = format!("harbor_{}_{}", arguments.package_version, architecture()?);
    let package = out.join(format!("{name}.deb"));
    progress.step("packing");
    pack(&stage, &package, &arguments.profile)?;
    progress.print(&package.display().to_string());
    progress.step("packing the tarball");
    progress.print(&tarball(&stage, &out, &name)?);
    if let Some(program) = static_binary {
        progress.step("packing the tarball without libraries");
        tree::program(&stage, &program)?;
        progress.print(&tarball(&stage, &out, &format!("{name}_static"))?);
    }
    fs::remove_dir_all(&stage)?;
    if let (Some(builder), Some(name)) = (builder, &arguments.image) {
        progress.step("building the image");
        image::build(builder, name, (&package, &out))?;
        progress.print(name);
    }
    Ok(())
}

/// Packs the files of the package for systems that have no dpkg; its path.
fn tarball(stage: &Path, out: &Path, name: &str) -> Result<String> {
    let tarball = out.join(format!("{name}.tar.gz"));
    let mut tar = Command::new("tar");
    tar.args(["--create", "--gzip", "--file"]).arg(&tarball);
    tar.args([
        "--sort=name",
        "--owner=root:0",
        "--group=root:0",
        "--exclude=./DEBIAN",
    ]);
    shell::succeed(tar.arg("--directory").arg(stage).arg("."))?;
    Ok(tarball.display().to_string())
}

/// The one that a variable names, else built now, with the eBPF object inside.
fn binary(profile: &str) -> Result<PathBuf> {
    if let Some(path) = env::var_os("HARBOR_CTL") {
        return Ok(path.into());
    }
    setup::run(setup::Wish::Build)?;
    build::find(&build::with_profile(profile)?, "harbor-ctl")
}

/// As dpkg calls it.
fn architecture() -> Result<String> {
    let said = Command::new("dpkg").arg("--print-architecture").output();
    let said = said.context("cannot start dpkg")?;
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// All files are root's, and as old as the last commit: the same source makes the same package.
fn pack(stage: &Path, package: &Path, profile: &str) -> Result<()> {
    let mut git = Command::new("git");
    git.current_dir(shell::workspace())
        .args(["log", "-1", "--format=%ct"]);
    let said = git.output().context("cannot start git")?;
    let epoch = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let mut pack = Command::new("dpkg-deb");
    if !epoch.is_empty() {
        pack.env("SOURCE_DATE_EPOCH", epoch);
    }
    // What does not ship need not be small.
    let compression: &[&str] = match profile {
        "release" => &["-Zxz"],
        _ => &["-Zgzip", "-z1"],
    };
    pack.args(["--root-owner-group"]).args(compression);
    pack.arg("--build").arg(stage).arg(package);
    pack.stdout(std::process::Stdio::null());
    shell::succeed(&mut pack)
}
