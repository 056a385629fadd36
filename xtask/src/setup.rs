//! `setup`: installs what building and testing need on Debian, and lists it elsewhere.
//!
//! Quick if nothing is missing, because `run` and `test` call it every time. It never fetches a Rust
//! toolchain by rustup: that is the developer's choice.

use std::{env, path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{packages, python, shell, toolchain};

/// How much to install.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Building Harbor with its eBPF object.
    Build,
    /// Building, and every program that the suite runs.
    Everything,
    /// All that, and the proxies that Harbor is measured beside.
    Peers,
    /// Everything, and what boots another kernel by emulation.
    Kernels,
}

/// Programs that the suite starts, and the Debian packages they are in. redis-tools holds the server
/// as well, under another name.
const PROGRAMS: [(&str, &str); 28] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("tcpdump", "tcpdump"),
    ("nft", "nftables"),
    ("bpftool", "bpftool"),
    ("redis-check-rdb", "redis-tools"),
    ("keepalived", "keepalived"),
    ("redis-benchmark", "redis-tools"),
    ("dnsmasq", "dnsmasq-base"),
    ("dig", "bind9-dnsutils"),
    ("iperf3", "iperf3"),
    ("systemd-analyze", "systemd"),
    ("pg_createcluster", "postgresql"),
    ("pgbench", "postgresql"),
    ("mosquitto", "mosquitto"),
    ("mosquitto_sub", "mosquitto-clients"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("openssl", "openssl"),
    ("curl", "curl"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("lintian", "lintian"),
    ("man", "man-db"),
    ("strip", "binutils"),
    ("faketime", "faketime"),
    ("tmux", "tmux"),
    ("chromium", "chromium"),
];

/// Proxies, with what they need to pass TCP on.
const PEERS: [(&str, &[&str]); 2] = [
    ("haproxy", &["haproxy"]),
    ("nginx", &["nginx", "libnginx-mod-stream"]),
];

/// Programs that boot another kernel, or set up what only that has, and the packages that they are in.
const EMULATOR: [(&str, &str); 8] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("modprobe", "kmod"),
    ("cpio", "cpio"),
    ("strip", "binutils"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("wg", "wireguard-tools"),
];

/// The LLVM of Debian's newest compiler.
const LLVM: u32 = 22;
const LINKER_VERSION: &str = "0.13.0";

/// Installs what is missing; does nothing, quickly, when nothing is.
pub(crate) fn run(wish: Wish) -> Result<()> {
    let mut packages: Vec<String> = Vec::new();
    if wish == Wish::Peers {
        let missing = PEERS
            .iter()
            .filter(|(program, _)| shell::which(program).is_none());
        let missing = missing.flat_map(|(_, needed)| *needed);
        packages.extend(missing.map(|package| (*package).into()));
    }
    if wish == Wish::Kernels {
        packages.extend(missing(&EMULATOR));
    }
    if wish != Wish::Build {
        packages.extend(missing(&PROGRAMS));
        if !python::can_make() {
            packages.push(python::PACKAGE.into());
        }
    }
    let ready = toolchain::candidates().is_ok() || env::var_os("HARBOR_EBPF_OBJECT").is_some();
    let compiler = toolchain::has_compiler();
    if !ready {
        if !compiler {
            packages.extend(["rustc-web".into(), "rust-web-src".into()]);
        }
        if !toolchain::has_linker() {
            packages.push(format!("llvm-{LLVM}-dev"));
        }
    }
    packages.sort();
    packages.dedup();
    if !packages.is_empty() {
        install(&packages)?;
    }
    if !ready && !toolchain::has_linker() {
        install_linker()?;
    }
    if wish != Wish::Build {
        python::install().map_err(|error| error.context(by_hand()))?;
    }
    match toolchain::candidates() {
        Err(missing) if env::var_os("HARBOR_EBPF_OBJECT").is_none() => {
            bail!("{missing}\n{}", by_hand())
        }
        _ => Ok(()),
    }
}

/// The packages of the programs that are missing.
fn missing(programs: &[(&str, &str)]) -> Vec<String> {
    let missing = programs
        .iter()
        .filter(|(program, _)| shell::which(program).is_none());
    missing.map(|(_, package)| (*package).into()).collect()
}

fn install(missing: &[String]) -> Result<()> {
    if shell::which("apt-get").is_none() {
        bail!("missing: {}\n{}", missing.join(" "), by_hand());
    }
    println!("setup: installing {}", missing.join(" "));
    packages::install(missing).map_err(|error| error.context(by_hand()))
}

/// Builds bpf-linker against Debian's LLVM, into cargo's own folder of programs.
fn install_linker() -> Result<()> {
    let prefix = format!("/usr/lib/llvm-{LLVM}");
    if !Path::new(&prefix).exists() {
        bail!("bpf-linker is missing, and so is {prefix}\n{}", by_hand());
    }
    println!("setup: building bpf-linker {LINKER_VERSION}");
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let feature = format!("llvm-{LLVM}");
    command
        // Outside the workspace: its target directory and flags are not the linker's.
        .current_dir("/")
        .env_remove("CARGO_TARGET_DIR")
        .env("LLVM_PREFIX", prefix)
        .args([
            "install",
            "--quiet",
            "bpf-linker",
            "--version",
            LINKER_VERSION,
            "--locked",
        ])
        .args(["--no-default-features", "--features", &feature]);
    shell::succeed(&mut command)
}

fn by_hand() -> String {
    format!(
        "on a system without apt-get, or without these packages, install by hand:\n  \
         rustup component add rust-src\n  \
         cargo install bpf-linker --version {LINKER_VERSION} --locked   (needs the LLVM of `rustc -vV`)\n\
         and for the tests: ip nft bpftool redis dnsmasq dig iperf3 systemd-analyze\n  \
         postgresql mosquitto sshd ssh openssl curl python3 with venv\n\
         for `bench proxy`: haproxy, and nginx with its stream module\n\
         and for `matrix`, which boots Debian's kernels: a Debian system with\n  \
         qemu-system-x86_64 busybox (static) modprobe cpio strip xz zstd wg"
    )
}
