//! Process metrics under the names that every exporter uses.

use std::{fs, sync::OnceLock};

use nix::sys::{
    resource::{Resource, UsageWho, getrlimit, getrusage},
    time::TimeVal,
};

use crate::{
    metrics::{Scrape, family, labels},
    model::now,
};

/// Adds what can be read.
pub(super) fn add(scrape: &mut Scrape) {
    let none = labels([]);
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
        scrape.seconds(&family::PROCESS_CPU, cpu);
    }
    if let Some(bytes) = resident() {
        scrape.gauge(&family::PROCESS_MEMORY, &none, bytes as f64);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The one that the folder is read by is closed again.
        let open = open.count().saturating_sub(1);
        scrape.gauge(&family::PROCESS_DESCRIPTORS, &none, open as f64);
    }
    if let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        scrape.gauge(&family::PROCESS_DESCRIPTOR_LIMIT, &none, limit as f64);
    }
    if let Some(start) = start() {
        scrape.gauge(&family::PROCESS_START, &none, start);
    }
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

/// When the process was started, in seconds since 1970. Read once: as a difference of two clocks it is
/// another one each time, and who counts its changes takes each for a start.
fn start() -> Option<f64> {
    static START: OnceLock<Option<f64>> = OnceLock::new();
    *START.get_or_init(|| Some(now() as f64 - age()?))
}

/// Seconds since the process was started.
fn age() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // What stands before the last parenthesis is its name.
    let started: f64 = stat
        .rsplit(')')
        .next()?
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
    /// Ticks of a second in `/proc`, the same on every machine that Harbor runs on.
    const TICKS: f64 = 100.0;
    Some(uptime - started / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_of_the_process_is_one_moment() {
        let first = start().unwrap();
        assert!(first > 1e9 && first <= now() as f64 + 1.0, "{first}");
        std::thread::sleep(std::time::Duration::from_millis(1_100));
        assert_eq!(start(), Some(first));
    }
}
