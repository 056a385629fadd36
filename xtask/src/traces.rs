//! What a run of the suite leaves on a machine: namespaces, mounts and eBPF programs with the suite's
//! names, compared before and after. What others create in the meantime does not count.

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

/// The kernel removes namespaces and programs some time after it has said so.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything of these kinds that has one of the suite's names, at one moment.
pub(crate) struct Traces(BTreeSet<String>);

impl Traces {
    /// What is there now.
    pub(crate) fn of_machine() -> Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            found.insert(format!("namespace {}", entry.file_name().to_string_lossy()));
        }
        for mount in fs::read_to_string("/proc/mounts")?.lines() {
            let place = mount.split(' ').nth(1).unwrap_or(mount);
            found.insert(format!("mount {place}"));
        }
        found.retain(|trace| owner(trace).is_some());
        let mut bpftool = shell::privileged("bpftool", &[]);
        let programs = shell::output(bpftool.args(["--json", "prog", "show"]))?;
        let programs: Value = serde_json::from_str(&programs)?;
        for program in programs.as_array().into_iter().flatten() {
            let name = program["name"].as_str().unwrap_or_default();
            if name.starts_with("harbor_") {
                found.insert(format!("program {} {name}", program["id"]));
            }
        }
        Ok(Self(found))
    }

    /// What has appeared since and does not go away.
    pub(crate) fn left(&self) -> Result<Vec<String>> {
        let begun = Instant::now();
        loop {
            let now = Self::of_machine()?;
            let left: Vec<String> = now.0.difference(&self.0).cloned().collect();
            // Another suite on this machine creates and removes its own all the time, and its programs
            // look like ours.
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

/// The process that made a thing of the suite's; its id is part of the name.
fn owner(trace: &str) -> Option<u32> {
    let after = trace.split("hbt").nth(1)?;
    let end = after.find(|c: char| !c.is_ascii_digit());
    after[..end.unwrap_or(after.len())].parse().ok()
}

fn is_of_a_running_suite(trace: &str) -> bool {
    owner(trace).is_some_and(|id| Path::new("/proc").join(id.to_string()).exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_suite_has_named_is_the_suites() {
        assert_eq!(owner("namespace hbt4711-0-node"), Some(4711));
        assert_eq!(owner("mount /tmp/hbt12-3/bpf"), Some(12));
        for others in [
            "namespace blue",
            "mount /run/netns",
            "namespace hbtx-1",
            "mount /mnt",
        ] {
            assert_eq!(owner(others), None, "{others}");
        }
    }
}
