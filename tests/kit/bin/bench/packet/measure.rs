//! One measurement: frames for a while, and what they cost.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use kit::{V4, eventually};
use nix::{
    libc,
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use super::{
    frames::{self, Senders},
    ground::{APP_PORT, Ground},
    kernel::Counter,
};

/// Frames of one call: enough that what begins and ends it does not count.
const REPEAT: u32 = 1 << 16;
/// The processor that all of it runs on.
const PROCESSOR: usize = 0;

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Nanoseconds of processor time a frame that arrived.
    pub(crate) ns: f64,
    /// Frames that did not arrive, as a share.
    pub(crate) lost: f64,
}

/// Sends through a ground for so many seconds.
pub(crate) fn cost(ground: &Ground, flows: (u32, Senders), seconds: f64) -> Result<Sample> {
    let counter = Counter::new()?;
    let sink = frames::sink(APP_PORT, &counter)?;
    let lab = &ground.lab;
    let to = (ground.to.ip(), ground.to.port());
    let source = frames::source(lab.client_address(V4), to, flows)?;
    let app = lab.apps[0].ifindex("eth0");
    let _link = lab.apps[0].enter(|| sink.attach(app))?;
    let client = lab.client.ifindex("eth0");
    lab.client.enter(|| {
        let mut here = CpuSet::new();
        here.set(PROCESSOR)?;
        sched_setaffinity(Pid::from_raw(0), &here)?;
        // The caches are this mode's before it counts.
        source.send(client, REPEAT)?;
        settle(&counter);
        let (arrived, spent, begun) = (counter.read()?, spent()?, Instant::now());
        let mut sent = 0u64;
        while begun.elapsed().as_secs_f64() < seconds {
            source.send(client, REPEAT)?;
            sent += u64::from(REPEAT);
        }
        let spent = self::spent()? - spent;
        settle(&counter);
        let arrived = counter.read()? - arrived;
        Ok(Sample {
            ns: spent.as_nanos() as f64 / arrived as f64,
            lost: 1.0 - arrived as f64 / sent as f64,
        })
    })
}

/// Waits until nothing arrives any more.
fn settle(counter: &Counter) {
    let mut last = u64::MAX;
    eventually(Duration::from_secs(5), || {
        let now = counter.read().unwrap_or_default();
        std::mem::replace(&mut last, now) == now
    });
}

/// Processor time of this thread and of the kernel's own on the same processor.
fn spent() -> Result<Duration> {
    // SAFETY: all zero is a valid timespec, and it outlives the call.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let own = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    Ok(own + softirq()?)
}

/// What the softirq thread of the processor has run.
fn softirq() -> Result<Duration> {
    let name = format!("ksoftirqd/{PROCESSOR}");
    for entry in fs::read_dir("/proc")?.flatten() {
        let path = entry.path();
        let is_it = fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name);
        if is_it {
            let text = fs::read_to_string(path.join("schedstat"))?;
            let first = text.split(' ').next().context("schedstat is empty")?;
            return Ok(Duration::from_nanos(first.parse()?));
        }
    }
    // In a container the kernel's threads are not to be seen; what they do is then not counted.
    Ok(Duration::ZERO)
}
