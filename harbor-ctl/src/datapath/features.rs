//! What this kernel has of what the programs use, found out by asking it and not by its version, and
//! what the lack of it costs.

use std::{fs, sync::OnceLock};

use aya::{
    programs::{ProgramType, SchedClassifier, TcAttachType},
    sys::{BpfHelper, is_helper_supported, is_program_supported},
};

use super::error::DatapathError;
use crate::model::KernelReport;

/// Helpers that the programs cannot do without, and since when Linux has them.
const NEEDED: [(BpfHelper, &str); 4] = [
    (BpfHelper::BPF_FUNC_loop, "bpf_loop, Linux 5.17"),
    (BpfHelper::BPF_FUNC_timer_init, "bpf_timer_init, Linux 5.15"),
    (
        BpfHelper::BPF_FUNC_for_each_map_elem,
        "bpf_for_each_map_elem, Linux 5.13",
    ),
    (
        BpfHelper::BPF_FUNC_redirect_neigh,
        "bpf_redirect_neigh, Linux 5.10",
    ),
];

/// What is asked by loading and querying, which is done once: a kernel does not change.
struct Probed {
    has_tcx: bool,
    has_lookup: bool,
}

static PROBED: OnceLock<Probed> = OnceLock::new();

impl Probed {
    fn now() -> Self {
        Self {
            has_tcx: SchedClassifier::query_tcx("lo", TcAttachType::Ingress).is_ok(),
            has_lookup: is_program_supported(ProgramType::SkLookup).unwrap_or(true),
        }
    }
}

/// Asks the kernel.
pub(crate) fn kernel() -> KernelReport {
    let Probed {
        has_tcx,
        has_lookup,
    } = *PROBED.get_or_init(Probed::now);
    let lockdown = lockdown();
    let mut costs = Vec::new();
    if !has_tcx {
        costs.push(
            "no tcx (Linux 6.6): others who take the clsact discipline away take the program away"
                .to_owned(),
        );
    }
    if !has_lookup {
        costs.push(
            "no sk_lookup (Linux 5.9): datagrams whose fragments come out of order are lost".into(),
        );
    }
    if setting("net/core/bpf_jit_enable") == Some(0) {
        costs.push(
            "programs are interpreted, not compiled: sysctl net.core.bpf_jit_enable=1".into(),
        );
    }
    if setting("net/core/bpf_jit_harden") == Some(2) {
        costs.push(
            "constants in programs are blinded for root too: sysctl net.core.bpf_jit_harden=1"
                .into(),
        );
    }
    if setting("kernel/bpf_stats_enabled") == Some(1) {
        costs.push("every run of a program is timed: sysctl kernel.bpf_stats_enabled=0".into());
    }
    KernelReport {
        release: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        hook: if has_tcx { "tcx" } else { "clsact" }.into(),
        has_btf: fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false),
        lockdown,
        costs,
    }
}

/// Names the helper that this kernel lacks, before the verifier does in its own words.
pub(crate) fn check_helpers() -> Result<(), DatapathError> {
    let lacks =
        |helper| is_helper_supported(ProgramType::SchedClassifier, helper).is_ok_and(|has| !has);
    match NEEDED.iter().find(|(helper, _)| lacks(*helper)) {
        None => Ok(()),
        Some((_, name)) => Err(DatapathError::with_fix(
            format!("this kernel lacks {name}"),
            "boot a newer kernel: 6.1 or later",
        )),
    }
}

/// What programs need besides what only root has, and its bit (capability.h).
const RIGHTS: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_NET_ADMIN", 12)];
/// Stands for the first two.
const SYS_ADMIN: u32 = 21;

/// Which rights this process lacks for the programs, and how it gets them.
pub(crate) fn lacking_rights() -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    lacking_of(u64::from_str_radix(effective.trim(), 16).ok()?)
}

fn lacking_of(effective: u64) -> Option<String> {
    let has = |bit: u32| effective & (1 << bit) != 0;
    let stands_in = |bit: u32| bit > 32 && has(SYS_ADMIN);
    let lacking = RIGHTS
        .iter()
        .filter(|(_, bit)| !has(*bit) && !stands_in(*bit));
    let names: Vec<&str> = lacking.map(|(name, _)| *name).collect();
    let names = names.join(" ");
    (!names.is_empty()).then(|| {
        format!(
            "run as root, or give it {names} (CapabilityBoundingSet and AmbientCapabilities of the \
             unit: systemctl edit harbor)"
        )
    })
}

/// Why the kernel may refuse programs of root's, in words.
pub(super) fn confinement() -> Option<String> {
    let mode = lockdown().filter(|mode| mode != "none")?;
    Some(format!(
        "the kernel is locked down ({mode}, as with Secure Boot): boot with lockdown=none, or see \
         kernel_lockdown(7)"
    ))
}

/// The mode in brackets, where the kernel has a lockdown at all.
fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn setting(name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_that_are_lacking_are_named_and_no_others() {
        let bit = |bit: u32| 1_u64 << bit;
        assert_eq!(lacking_of(u64::MAX), None);
        assert_eq!(lacking_of(bit(SYS_ADMIN) | bit(12)), None);
        let text = lacking_of(bit(39) | bit(12)).unwrap();
        assert!(
            text.contains("CAP_PERFMON") && !text.contains("CAP_BPF"),
            "{text}"
        );
        assert!(
            lacking_of(0)
                .unwrap()
                .contains("CAP_BPF CAP_PERFMON CAP_NET_ADMIN")
        );
    }
}
