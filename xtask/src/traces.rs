//! What running things leaves on a machine: namespaces, mounts and eBPF programs, compared before and
//! after.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;

use crate::shell;

/// The kernel takes namespaces and programs down after it has said so.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything of these kinds that a machine has at one moment.
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    /// What is there now.
    pub(crate) fn of_machine() -> Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            found.insert(format!("namespace {}", entry.file_name().to_string_lossy()));
        }
        for mount in fs::read_to_string("/proc/mounts")?.lines() {
            found.insert(format!(
                "mount {}",
                mount.split(' ').nth(1).unwrap_or(mount)
            ));
        }
        let mut bpftool = shell::privileged("bpftool", &[]);
        let programs = shell::output(bpftool.args(["--json", "prog", "show"]))?;
        let programs: Value = serde_json::from_str(&programs)?;
        for program in programs.as_array().into_iter().flatten() {
            found.insert(format!("program {} {}", program["id"], program["name"]));
        }
        Ok(Self(found))
    }

    /// What has come since and does not go away.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let begun = Instant::now();
        loop {
            let now = Self::of_machine()?;
            let left: Vec<String> = now.0.difference(&self.0).cloned().collect();
            // Another suite on this machine makes and removes as it goes: its programs cannot be
            // told from ours.
            if left.is_empty() || left.iter().any(|trace| is_of_a_running_suite(trace)) {
                return Ok(Vec::new());
            }
            if begun.elapsed() > PATIENCE {
                return Ok(left);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Names of the suite's things carry its process id.
fn is_of_a_running_suite(trace: &str) -> bool {
    let after = trace.split("hbt").nth(1).unwrap_or_default();
    let id: String = after.chars().take_while(char::is_ascii_digit).collect();
    !id.is_empty() && Path::new("/proc").join(id).exists()
}
