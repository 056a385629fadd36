//! The kernel: rights, features, pins, and the clock.

use std::{fs, path::Path};

use nix::sys::statfs::{FsType, statfs};

use super::{finding::Finding, finding::or_ok, patient::Patient};
use crate::{
    datapath::{self, Datapath},
    model::{KernelReport, Mode},
};

/// `BPF_FS_MAGIC`
const BPF_FS: FsType = FsType(0xcafe_4a11);
/// Where distributions mount it.
const BPF_ROOT: &str = "/sys/fs/bpf";
/// Nobody runs this before it was written.
const YEAR_2025: u64 = 1_735_689_600;
/// `STA_UNSYNC` (timex.h)
const UNSYNCHRONISED: i32 = 0x0040;

/// Whether the programs are wanted at all.
fn wants_programs(patient: &Patient) -> bool {
    patient
        .config()
        .is_none_or(|config| config.mode != Mode::Proxy)
}

fn no_programs() -> Vec<Finding> {
    vec![Finding::skipped(
        "datapath.mode is proxy: nothing is loaded",
    )]
}

pub(super) fn rights(patient: &Patient) -> Vec<Finding> {
    if !wants_programs(patient) {
        return no_programs();
    }
    match datapath::lacking_rights() {
        None => vec![Finding::ok("all that the programs need")],
        Some(fix) => vec![Finding::fault("this process may not load programs").fix(fix)],
    }
}

pub(super) fn object(patient: &Patient) -> Vec<Finding> {
    if !wants_programs(patient) {
        return no_programs();
    }
    vec![match Datapath::is_built_in() {
        true => Finding::ok("it has"),
        false => Finding::fault("this binary was built without the eBPF object")
            .fix("install the package, or build with HARBOR_EBPF=require"),
    }]
}

pub(super) fn kernel(patient: &Patient) -> Vec<Finding> {
    if !wants_programs(patient) {
        return no_programs();
    }
    let lacks = datapath::check_helpers().err();
    judge(&datapath::kernel(), lacks.map(|error| error.to_string()))
}

/// What a kernel's report means.
fn judge(report: &KernelReport, lacks: Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(lacks) = lacks {
        findings.push(Finding::fault(lacks).fix("boot Linux 6.1 or later"));
    }
    for cost in &report.costs {
        // What is to be done stands after the colon, where something can be.
        let (text, fix) = cost.split_once(": ").unwrap_or((cost, ""));
        let finding = Finding::warning(text);
        findings.push(match fix.split_once(' ') {
            Some(("sysctl", setting)) => {
                let fix = format!("sysctl -w {setting}");
                mendable(finding.fix(fix), setting)
            }
            _ if fix.is_empty() => finding,
            _ => Finding::warning(cost.clone()),
        });
    }
    if !report.has_btf {
        let text = "the kernel does not describe its types: bpftool shows less";
        findings.push(Finding::warning(text).fix("a kernel with CONFIG_DEBUG_INFO_BTF"));
    }
    or_ok(findings, report.to_string())
}

/// The programs' own settings are nobody else's business but other programs'; each is named in full.
fn mendable(finding: Finding, setting: &str) -> Finding {
    let Some((name, value)) = setting.split_once('=') else {
        return finding;
    };
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let (value, done) = (value.to_owned(), format!("sysctl -w {setting}"));
    finding.mend(move || match fs::write(&path, &value) {
        Ok(()) => Ok(done),
        Err(error) => Err(format!("{path}: {error}")),
    })
}

pub(super) fn bpffs(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config().filter(|_| wants_programs(patient)) else {
        return no_programs();
    };
    let path = &config.paths.bpf;
    // It is made by the agent; the nearest folder that exists decides.
    let Some(existing) = path.ancestors().find(|folder| folder.exists()) else {
        return vec![Finding::fault(format!("{} cannot exist", path.display()))];
    };
    match statfs(existing) {
        Ok(about) if about.filesystem_type() == BPF_FS => {
            vec![Finding::ok(path.display().to_string())]
        }
        Ok(_) => vec![not_bpffs(path)],
        Err(error) => vec![Finding::fault(format!("{}: {error}", existing.display()))],
    }
}

fn not_bpffs(path: &Path) -> Finding {
    let text = format!("{} is not on a BPF file system", path.display());
    if !path.starts_with(BPF_ROOT) {
        return Finding::fault(text).fix(format!(
            "set paths.bpf to a folder below {BPF_ROOT}, or mount one there"
        ));
    }
    let fix = format!("mount -t bpf bpf {BPF_ROOT}");
    let done = fix.clone();
    Finding::fault(text).fix(fix).mend(move || {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("bpf"), BPF_ROOT, Some("bpf"), flags, None::<&str>)
            .map(|()| done)
            .map_err(|error| format!("{BPF_ROOT}: {error}"))
    })
}

pub(super) fn pins(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return vec![Finding::skipped("the configuration does not say where")];
    };
    let bpf = &config.paths.bpf;
    let own = format!("v{}", harbor_common::maps::LAYOUT);
    let mut findings = Vec::new();
    for entry in fs::read_dir(bpf).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == own {
            continue;
        }
        let path = entry.path();
        let path = path.display();
        let finding = Finding::warning(format!("{path} holds tables from before"));
        findings.push(finding.fix(match patient.running() {
            Some(_) => "none: the agent takes their flows over, and removes them".into(),
            None => format!(
                "start the agent, which takes their flows over; or end them: harbor-ctl datapath detach \
                 --yes (all versions), or rm -r {path}"
            ),
        }));
    }
    or_ok(findings, format!("{} has no others", bpf.display()))
}

pub(super) fn clock(_: &Patient) -> Vec<Finding> {
    // SAFETY: all zeroes is a valid timex, and modes 0 asks without setting anything.
    let status = unsafe {
        let mut asked: libc::timex = std::mem::zeroed();
        match libc::adjtimex(&raw mut asked) {
            -1 => None,
            _ => Some(asked.status),
        }
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    judge_clock(now.map_or(0, |since| since.as_secs()), status)
}

fn judge_clock(now: u64, status: Option<i32>) -> Vec<Finding> {
    let fix = "timedatectl set-ntp true, or run chrony";
    if now < YEAR_2025 {
        return vec![Finding::fault("the clock is years behind").fix(fix)];
    }
    match status {
        Some(status) if status & UNSYNCHRONISED != 0 => {
            vec![Finding::warning("nobody keeps the clock right").fix(fix)]
        }
        Some(_) => vec![Finding::ok("it is synchronised")],
        None => vec![Finding::skipped("the kernel does not say")],
    }
}

#[cfg(test)]
mod tests {
    use super::{super::State, *};

    fn kernel_with(change: impl FnOnce(&mut KernelReport)) -> KernelReport {
        let mut report = KernelReport {
            release: "6.12.1".into(),
            hook: "tcx".into(),
            has_btf: true,
            lockdown: Some("none".into()),
            costs: Vec::new(),
        };
        change(&mut report);
        report
    }

    /// The one finding about a kernel: its state, and whether `--fix` mends it.
    fn found(report: &KernelReport, lacks: Option<&str>) -> (State, bool) {
        let found = judge(report, lacks.map(str::to_owned));
        assert_eq!(found.len(), 1, "{report:?}");
        (found[0].state, found[0].mend.is_some())
    }

    #[test]
    fn every_kernel_that_lacks_something_is_told() {
        let costs = |cost: &str| kernel_with(|report| report.costs.push(cost.into()));
        let lockdown = |mode: &str| kernel_with(|report| report.lockdown = Some(mode.into()));
        let (well, dull) = (
            kernel_with(|_| ()),
            kernel_with(|report| report.has_btf = false),
        );
        assert_eq!(found(&well, None), (State::Ok, false));
        assert_eq!(
            found(&well, Some("this kernel lacks bpf_loop")),
            (State::Fault, false)
        );
        // The programs read nothing that a lockdown hides: `xtask matrix --suite lockdown`.
        for mode in ["confidentiality", "integrity"] {
            assert_eq!(found(&lockdown(mode), None), (State::Ok, false));
        }
        assert_eq!(found(&dull, None), (State::Warning, false));
        for setting in ["net.core.bpf_jit_enable=1", "kernel.bpf_stats_enabled=0"] {
            let report = costs(&format!("it costs something: sysctl {setting}"));
            assert_eq!(found(&report, None), (State::Warning, true));
            let fix = judge(&report, None)[0].fix.clone();
            assert_eq!(fix, Some(format!("sysctl -w {setting}")));
        }
        let lacking = costs("no tcx (Linux 6.6): others may take it away");
        assert_eq!(found(&lacking, None), (State::Warning, false));
    }

    #[test]
    fn a_clock_that_is_wrong_or_left_alone_is_told() {
        let state = |now, status| judge_clock(now, status)[0].state;
        let now = YEAR_2025 + 1;
        assert_eq!(state(86_400, Some(0)), State::Fault);
        assert_eq!(state(now, Some(UNSYNCHRONISED)), State::Warning);
        assert_eq!(state(now, Some(0)), State::Ok);
        assert_eq!(state(now, None), State::Skipped);
    }
}
