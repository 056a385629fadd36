//! An emulated machine: one of Debian's kernels on top of this machine's own files, read-only, for one
//! script. It needs no KVM; computation takes five to twenty times as long as without emulation.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::kernel::Kernel;
use crate::{progress::Progress, shell};

const INIT: &str = include_str!("init.sh");
/// Begins the line that says how the script ended.
const END: &str = "@harbor-matrix-end@";
const MEMORY_MIB: u32 = 3_072;

/// Modules that the kernel needs before it can mount the machine's files, and those for the devices of
/// the tests. If a kernel lacks one, it is left out, and the test that needs the device says so.
const MODULES: &[&str] = &[
    "9p",
    "9pnet_virtio",
    "virtio_pci",
    "veth",
    "bridge",
    "nf_tables",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_numgen",
    "nft_limit",
    "nft_ct",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_redir",
    "nft_compat",
    "tun",
    "vxlan",
    "macvlan",
    "ifb",
    "8021q",
    "bonding",
    "vrf",
    "ip_gre",
    "ip6_gre",
    "ipip",
    "sit",
    "wireguard",
    "dummy",
    "sch_netem",
    "sch_ingress",
    "sch_fq_codel",
    "sch_tbf",
    "cls_bpf",
    "cls_u32",
    "act_bpf",
    "act_mirred",
    "geneve",
    "fou",
    "tcp_bbr",
];

/// A kernel that is ready to boot.
pub(crate) struct Machine<'a> {
    pub(crate) kernel: &'a Kernel,
    /// Where its own files are made.
    pub(crate) folder: PathBuf,
    /// More of the kernel's command line.
    pub(crate) boot: &'a str,
}

/// The result of a script.
pub(crate) struct Ended {
    pub(crate) code: i32,
    /// Its whole output.
    pub(crate) output: String,
}

impl Machine<'_> {
    /// Boots, runs the shell script as root, shows what it prints, and ends.
    pub(crate) fn run(&self, script: &str, seconds: u32) -> Result<Ended> {
        fs::create_dir_all(&self.folder)?;
        let file = self.folder.join("script.sh");
        fs::write(&file, script)?;
        let archive = self.initramfs(&file)?;
        let console = self.folder.join("console");
        let mut child = self
            .emulator(&archive, &console, seconds)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start qemu-system-x86_64")?;
        let stdout = child.stdout.take().context("its output is not piped")?;
        let progress = Progress::of(&self.kernel.release);
        let (mut output, mut code) = (String::new(), None);
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches('\r');
            if let Some(end) = line.strip_prefix(END) {
                code = end.trim().parse().ok();
                continue;
            }
            progress.line(&format!("  {line}"));
            output.push_str(line);
            output.push('\n');
        }
        child.wait()?;
        match code {
            Some(code) => Ok(Ended { code, output }),
            None => bail!(
                "{} has not come to the script's end within {seconds} s; its console: {}",
                self.kernel.release,
                console.display()
            ),
        }
    }

    fn emulator(&self, archive: &Path, console: &Path, seconds: u32) -> Command {
        let mut command = Command::new("timeout");
        command
            .arg(seconds.to_string())
            .arg("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2"])
            .args(["-m", &MEMORY_MIB.to_string()])
            .args(["-display", "none", "-monitor", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(archive)
            .arg("-append")
            .arg(format!(
                "console=ttyS0 loglevel=4 panic=-1 rdinit=/init {}",
                self.boot
            ))
            .args([
                "-virtfs",
                "local,path=/,mount_tag=hostroot,security_model=none,readonly=on,multidevs=remap",
            ]);
        command
    }

    /// What the kernel starts with: a shell, modules in the order in which they need each other, and
    /// `init.sh`.
    fn initramfs(&self, script: &Path) -> Result<PathBuf> {
        let tree = self.folder.join("initramfs");
        let _ = fs::remove_dir_all(&tree);
        for folder in ["bin", "modules", "proc", "sys", "dev", "newroot"] {
            fs::create_dir_all(tree.join(folder))?;
        }
        let busybox = shell::which("busybox").context("busybox is missing")?;
        fs::copy(busybox, tree.join("bin/busybox"))?;
        self.add_modules(&tree.join("modules"))?;
        let init = tree.join("init");
        let text = INIT
            .replace("@SCRIPT@", &script.display().to_string())
            .replace("@END@", END);
        fs::write(&init, text)?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        let archive = self.folder.join("initramfs.gz");
        let pack = format!(
            "find . | cpio -o -H newc --quiet | gzip -1 > '{}'",
            archive.display()
        );
        let mut pack_command = Command::new("sh");
        shell::succeed(pack_command.args(["-ec", &pack]).current_dir(&tree))?;
        Ok(archive)
    }

    fn add_modules(&self, folder: &Path) -> Result<()> {
        let mut files: Vec<PathBuf> = Vec::new();
        for module in MODULES {
            let mut command = Command::new("modprobe");
            command
                .args(["-S", &self.kernel.release, "-d"])
                .arg(&self.kernel.root)
                .args(["--show-depends", module])
                .stderr(Stdio::null());
            let shown = command.output().context("cannot start modprobe")?;
            for line in String::from_utf8_lossy(&shown.stdout).lines() {
                // The module's parameters, if it has any, follow the file.
                let file = line.strip_prefix("insmod ").unwrap_or_default();
                let file = file.split_whitespace().next().map(PathBuf::from);
                files.extend(file.filter(|file| !files.contains(file)));
            }
        }
        for (place, file) in files.iter().enumerate() {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let (unpack, name) = match name.rsplit_once('.') {
                Some((name, "xz")) => ("xz -dc", name),
                Some((name, "zst")) => ("zstd -qdc", name),
                _ => ("cat", name.as_ref()),
            };
            let target = folder.join(format!("{place:03}-{name}"));
            let line = format!("{unpack} '{}' > '{}'", file.display(), target.display());
            shell::succeed(Command::new("sh").args(["-ec", &line]))?;
        }
        Ok(())
    }
}
