//! Embeds the eBPF object, built from this workspace by whichever toolchain is there.
//!
//! `HARBOR_EBPF_OBJECT` names a finished object. `HARBOR_EBPF=require` turns a missing toolchain into
//! an error, `skip` builds without looking for one; by default its absence is a warning, nothing is
//! embedded, and the agent says so. The crate reads `cfg(harbor_ebpf_embedded)` and
//! `env!("HARBOR_EBPF_PATH")`.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build script talks to cargo on stdout, to people on stderr"
)]

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[path = "../xtask/src/toolchain.rs"]
mod toolchain;

/// Everything outside the tree that decides what is embedded.
const VARIABLES: [&str; 4] = [
    "HARBOR_EBPF",
    "HARBOR_EBPF_OBJECT",
    "HARBOR_EBPF_RUSTC",
    "BPF_LINKER",
];
/// Everything inside the tree that does.
const SOURCES: [&str; 7] = [
    "Cargo.lock",
    "Cargo.toml",
    "harbor-common/Cargo.toml",
    "harbor-common/src",
    "harbor-ebpf/Cargo.toml",
    "harbor-ebpf/src",
    "xtask/src/toolchain.rs",
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    println!("cargo:rustc-check-cfg=cfg(harbor_ebpf_embedded)");
    for variable in VARIABLES {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mode = env::var("HARBOR_EBPF").unwrap_or_default();
    match mode.as_str() {
        "skip" => return Ok(()),
        "" | "auto" | "require" => {}
        other => return Err(format!("HARBOR_EBPF={other}: use auto, require or skip").into()),
    }
    match object(&out) {
        Ok(object) => embed(&object, &out.join("harbor-ebpf.o")),
        Err(reason) if mode == "require" => Err(reason),
        Err(reason) => {
            for line in reason.to_string().lines() {
                println!("cargo:warning={line}");
            }
            println!(
                "cargo:warning=nothing is embedded and the agent cannot forward in the kernel; fix: cargo xtask setup"
            );
            Ok(())
        }
    }
}

/// The path of a finished object: the named one, or one built now.
fn object(out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(named) = env::var_os("HARBOR_EBPF_OBJECT") {
        println!("cargo:rerun-if-changed={}", Path::new(&named).display());
        return Ok(named.into());
    }
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest
        .parent()
        .ok_or("the crate lies outside its workspace")?;
    for source in SOURCES {
        println!(
            "cargo:rerun-if-changed={}",
            workspace.join(source).display()
        );
    }
    let (object, toolchain) = toolchain::build(workspace, &toolchain::target_dir(out))
        .inspect_err(|_| {
            // A path that does not exist: look again at the next build, a toolchain may have come.
            println!(
                "cargo:rerun-if-changed={}",
                out.join("no-toolchain").display()
            );
        })?;
    for tool in [&toolchain.rustc, &toolchain.linker]
        .into_iter()
        .filter(|tool| tool.is_absolute())
    {
        println!("cargo:rerun-if-changed={}", tool.display());
    }
    Ok(object)
}

fn embed(object: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let bytes = fs::read(object).map_err(|error| format!("{}: {error}", object.display()))?;
    if !bytes.starts_with(b"\x7fELF") {
        return Err(format!("{} is no object file", object.display()).into());
    }
    fs::write(to, bytes)?;
    println!("cargo:rustc-cfg=harbor_ebpf_embedded");
    println!("cargo:rustc-env=HARBOR_EBPF_PATH={}", to.display());
    Ok(())
}
