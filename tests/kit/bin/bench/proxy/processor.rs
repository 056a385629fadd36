//! Processor time of processes, and the processor that they run on.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

/// What all threads of these processes have run so far.
pub(crate) fn spent(processes: &[u32]) -> Result<Duration> {
    let mut spent = Duration::ZERO;
    for thread in threads(processes)? {
        let text = fs::read_to_string(format!("/proc/{thread}/schedstat"))?;
        let first = text.split(' ').next().context("schedstat is empty")?;
        spent += Duration::from_nanos(first.parse()?);
    }
    Ok(spent)
}

/// Keeps all threads of these processes on these processors.
pub(crate) fn pin(processes: &[u32], to: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for processor in to {
        set.set(*processor)?;
    }
    for thread in threads(processes)? {
        sched_setaffinity(Pid::from_raw(thread.cast_signed()), &set)?;
    }
    Ok(())
}

/// A process and its children.
pub(crate) fn family(process: u32) -> Result<Vec<u32>> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path)?;
    let children = children.split_whitespace().map(str::parse);
    let mut all = vec![process];
    all.extend(children.collect::<Result<Vec<u32>, _>>()?);
    Ok(all)
}

fn threads(processes: &[u32]) -> Result<Vec<u32>> {
    let mut threads = Vec::new();
    for process in processes {
        for entry in fs::read_dir(format!("/proc/{process}/task"))? {
            let name = entry?.file_name();
            threads.push(name.to_string_lossy().parse()?);
        }
    }
    Ok(threads)
}
