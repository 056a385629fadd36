//! Finds a toolchain that can build the eBPF object, and builds it.
//!
//! Compiled twice: into xtask, and by `#[path]` into harbor-ctl's build script, so it uses nothing but
//! std. A nested cargo with an environment of its own builds the object: the settings of the outer
//! build (flags, profile, wrapper, toolchain) are for the host, not for the kernel.

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The target of programs for the kernel.
const TARGET: &str = "bpfel-unknown-none";
/// The oldest compiler release (1.x) that knows this workspace's edition and dependencies.
const OLDEST_RELEASE: u32 = 95;
/// A compiler with its library's sources, and a linker that reads what the compiler emits.
#[derive(Clone, Debug)]
pub(crate) struct Toolchain {
    /// The compiler; its sysroot holds `lib/rustlib/src/rust/library`.
    pub(crate) rustc: PathBuf,
    /// `bpf-linker`.
    pub(crate) linker: PathBuf,
    /// Removes DWARF and keeps BTF; the object is only larger without it.
    pub(crate) strip: Option<PathBuf>,
}

/// Why there is no object: every candidate, and what was wrong with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    /// One line each.
    pub(crate) reasons: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no toolchain for the eBPF object: {}",
            self.reasons.join("; ")
        )
    }
}

impl std::error::Error for Missing {}

/// Every toolchain on this machine that should be able to build the object, best first.
pub(crate) fn candidates() -> Result<Vec<Toolchain>, Missing> {
    let mut missing = Missing::default();
    let linker = find_linker();
    if linker.is_none() {
        missing.reasons.push("bpf-linker is not installed".into());
    }
    let mut found: Vec<Toolchain> = Vec::new();
    for rustc in compilers() {
        match inspect(&rustc) {
            Ok(llvm) => {
                let strip = find_strip(llvm);
                found.extend(linker.clone().map(|linker| Toolchain {
                    rustc,
                    linker,
                    strip,
                }));
            }
            Err(reason) => missing
                .reasons
                .push(format!("{}: {reason}", rustc.display())),
        }
    }
    if found.is_empty() {
        Err(missing)
    } else {
        Ok(found)
    }
}

/// Whether some compiler on this machine can emit the object.
#[allow(dead_code, reason = "asked by xtask's setup, not by the build script")]
pub(crate) fn has_compiler() -> bool {
    compilers().iter().any(|rustc| inspect(rustc).is_ok())
}

/// Whether there is a linker for the object.
#[allow(dead_code, reason = "asked by xtask's setup, not by the build script")]
pub(crate) fn has_linker() -> bool {
    find_linker().is_some()
}

/// Builds the object in `target`, with the first toolchain that can.
pub(crate) fn build(workspace: &Path, target: &Path) -> Result<(PathBuf, Toolchain), Missing> {
    let mut missing = Missing::default();
    for toolchain in candidates()? {
        match toolchain.build(workspace, target) {
            Ok(object) => return Ok((object, toolchain)),
            Err(reason) => {
                missing
                    .reasons
                    .push(format!("{}: {reason}", toolchain.rustc.display()));
            }
        }
    }
    Err(missing)
}

/// The nested build's folder inside the target directory that `inside` lies in: one for all
/// profiles of the outer build, because the object is the same for each.
pub(crate) fn target_dir(inside: &Path) -> PathBuf {
    // <target>[/<triple>]/<profile>/...; cargo tags <target> itself.
    let tagged = inside
        .ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").exists());
    tagged.unwrap_or(inside).join("ebpf")
}

impl Toolchain {
    /// Builds the object in `target` and strips it; the path leads to the finished file.
    fn build(&self, workspace: &Path, target: &Path) -> Result<PathBuf, String> {
        let output = self
            .cargo(workspace, target)
            .output()
            .map_err(|error| format!("cargo cannot be started: {error}"))?;
        if !output.status.success() {
            return Err(format!(
                "cargo failed\n{}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
        let linked = target.join(TARGET).join("release").join("harbor-ebpf");
        self.strip(&linked, &target.join("harbor-ebpf.o"))
            .map_err(|error| format!("{} cannot be stripped: {error}", linked.display()))
    }

    fn cargo(&self, workspace: &Path, target: &Path) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let keep = text == "CARGO_HOME"
                || text.starts_with("CARGO_NET_")
                || text.starts_with("CARGO_HTTP_");
            let outer = ["CARGO", "RUSTC", "RUSTDOC"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
                || ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "MAKEFLAGS", "MFLAGS"].contains(&&*text);
            if outer && !keep {
                command.env_remove(&name);
            }
        }
        command
            .current_dir(workspace)
            .env("RUSTC", &self.rustc)
            // build-std is unstable; only this nested call may use what is.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\u{1f}"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "-Z",
                "build-std=core",
            ])
            .args([
                "--target",
                TARGET,
                "-p",
                "harbor-ebpf",
                "--bin",
                "harbor-ebpf",
            ]);
        command
    }

    fn flags(&self) -> Vec<String> {
        // Not +allows-misaligned-mem-access: it also allows misaligned stores to the stack, which the
        // verifier refuses ("misaligned stack access").
        let mut flags = vec![
            format!("-Clinker={}", self.linker.display()),
            "-Cdebuginfo=2".into(),
            "-Clink-arg=--btf".into(),
            // Expanded in order, a copy of a flow entry costs twice the verified instructions.
            "-Clink-arg=--disable-expand-memcpy-in-order".into(),
        ];
        if cfg!(harbor_other_layout) {
            flags.push("--cfg=harbor_other_layout".into());
        }
        flags
    }

    /// Writes `to` only when its contents change, so that nothing downstream is built again.
    fn strip(&self, from: &Path, to: &Path) -> io::Result<PathBuf> {
        let scratch = to.with_extension(format!("{}.tmp", std::process::id()));
        fs::copy(from, &scratch)?;
        if let Some(strip) = &self.strip {
            let status = Command::new(strip).arg("-g").arg(&scratch).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("{} failed", strip.display())));
            }
        }
        if fs::read(to).ok() == Some(fs::read(&scratch)?) {
            fs::remove_file(&scratch)?;
        } else {
            fs::rename(&scratch, to)?;
        }
        Ok(to.to_path_buf())
    }
}

/// Compilers to try: the named one alone, or else the build's own, rustup's, Debian's.
fn compilers() -> Vec<PathBuf> {
    if let Some(explicit) = env::var_os("HARBOR_EBPF_RUSTC") {
        return vec![explicit.into()];
    }
    let mut compilers: Vec<PathBuf> = env::var_os("RUSTC")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    let rustup = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| home(".rustup"));
    let mut toolchains: Vec<PathBuf> = rustup
        .and_then(|home| fs::read_dir(home.join("toolchains")).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin/rustc"))
        .filter(|rustc| library(rustc.parent().and_then(Path::parent)).is_some())
        .collect();
    // "stable" sorts after "nightly"; it is the one that the workspace is tested with.
    toolchains.sort();
    compilers.extend(toolchains.into_iter().rev());
    compilers.push("/usr/bin/rustc".into());
    let mut unique = Vec::new();
    compilers.retain(|rustc| {
        let known = unique.contains(rustc);
        unique.push(rustc.clone());
        !known
    });
    compilers
}

/// The compiler's LLVM major version, if it is new enough and has its library's sources.
fn inspect(rustc: &Path) -> Result<u32, String> {
    let version = ask(rustc, &["-vV"])?;
    let number = |label: &str, index: usize| -> Option<u32> {
        let line = version.lines().find_map(|line| line.strip_prefix(label))?;
        line.trim().split(['.', '-']).nth(index)?.parse().ok()
    };
    let release = number("release:", 1).ok_or("says no release")?;
    if release < OLDEST_RELEASE {
        return Err(format!("1.{release} is older than 1.{OLDEST_RELEASE}"));
    }
    let sysroot = ask(rustc, &["--print", "sysroot"])?;
    library(Some(Path::new(sysroot.trim()))).ok_or("its library's sources are not installed")?;
    number("LLVM version:", 0).ok_or_else(|| "says no LLVM version".into())
}

/// The sources of `core` below a sysroot; what rustup calls rust-src and Debian rust-web-src.
fn library(sysroot: Option<&Path>) -> Option<PathBuf> {
    let library = sysroot?.join("lib/rustlib/src/rust/library");
    library.join("core/Cargo.toml").exists().then_some(library)
}

fn ask(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{} failed", arguments.join(" ")))
    }
}

fn find_linker() -> Option<PathBuf> {
    if let Some(explicit) = env::var_os("BPF_LINKER") {
        return Some(explicit.into());
    }
    let cargo_home = env::var_os("CARGO_HOME").map(|home| PathBuf::from(home).join("bin"));
    search_path(
        "bpf-linker",
        cargo_home.into_iter().chain(home(".cargo/bin")),
    )
}

fn find_strip(llvm: u32) -> Option<PathBuf> {
    let versioned = PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin"));
    // GNU strip does not know BPF; the strip of another LLVM is good enough.
    search_path("llvm-strip", [versioned])
        .or_else(|| search_path(&format!("llvm-strip-{llvm}"), []))
}

fn search_path(name: &str, more: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more: Vec<PathBuf> = more.into_iter().collect();
    let found = env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(name));
    found.into_iter().find(|file| file.is_file())
}

fn home(below: &str) -> Option<PathBuf> {
    env::var_os("HOME").map(|home| PathBuf::from(home).join(below))
}
