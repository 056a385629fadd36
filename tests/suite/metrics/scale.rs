//! A scrape where there are many ports: how long it takes, what it keeps, and whether a change waits for
//! it. Nothing here depends on how long anything takes.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kit::{Agent, Config, Lab, http::Http};

use super::{LISTEN, OPEN};
use crate::scale::{BACKENDS, fill};

const SCRAPES: usize = 20;
/// Changes that are timed without anybody who scrapes.
const CHANGES: usize = 100;
/// Between two looks at the agent's memory.
const LOOK: Duration = Duration::from_millis(2);

#[test]
fn a_hundred_ports_are_scraped_while_they_are_changed() {
    for per_backend in ["auto", "on"] {
        println!("{}", run(101, per_backend));
    }
}

/// Fills an agent with ports and scrapes it again and again, while ports are changed; says what it took.
pub(crate) fn run(ports: usize, per_backend: &str) -> String {
    let lab = Lab::routed();
    let config = format!(
        "[log]\nlevel = \"info\"\n[ports]\nrange = \"35000-45999\"\n\
         [metrics]\nlisten = \"{LISTEN}\"\nper_backend = \"{per_backend}\"\n"
    );
    let mut agent = Agent::start_with(&lab, &Config::with(&config));
    fill(&mut Http::new(&agent.socket()), ports);
    // From a start on: what filling left behind is not what ports need.
    agent.stop();
    agent.restart();
    let before = agent.process().memory();
    let mut alone = Vec::new();
    for number in 0..CHANGES {
        alone.push(changed(&agent, number));
    }
    let (is_over, most) = (AtomicBool::new(false), AtomicU64::new(0));
    let pid = agent.process().id();
    let (scrapes, beside, octets) = thread::scope(|scope| {
        let watch = scope.spawn(|| {
            while !is_over.load(Relaxed) {
                most.fetch_max(private(pid), Relaxed);
                thread::sleep(LOOK);
            }
        });
        let changes = scope.spawn(|| {
            let mut times = Vec::new();
            while !is_over.load(Relaxed) {
                times.push(changed(&agent, times.len()));
            }
            times
        });
        let (mut times, mut octets) = (Vec::new(), 0);
        for _ in 0..SCRAPES {
            let begun = Instant::now();
            octets = scraped(&lab, ports);
            times.push(begun.elapsed());
        }
        is_over.store(true, Relaxed);
        watch.join().unwrap();
        (times, changes.join().unwrap(), octets)
    });
    let (most, after) = (most.load(Relaxed), agent.process().memory());
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1_024.0);
    format!(
        "{ports} ports of {BACKENDS} backends, per_backend {per_backend}: a scrape of {} takes {}; the agent \
         keeps {} before, {} at most meanwhile, {} after; a change takes {} alone, and {} beside",
        mib(octets as u64 / 1_024),
        spread(scrapes),
        mib(before),
        mib(most),
        mib(after),
        spread(alone),
        spread(beside),
    )
}

/// Memory that a process keeps to itself, in KiB.
fn private(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    kib.and_then(|kib| kib.parse().ok()).unwrap_or(0)
}

/// How long a change of a port takes, until the kernel has it.
fn changed(agent: &Agent, number: usize) -> Duration {
    let mut http = Http::new(&agent.socket());
    let body = format!("{{\"drain_s\":{}}}", 10 + number % 50);
    let header = "Content-Type: application/json\r\n";
    let begun = Instant::now();
    let (status, said) = http
        .ask("PATCH /v1/ports/35000", header, body.as_bytes())
        .unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
    begun.elapsed()
}

/// Scrapes once; how many octets came.
fn scraped(lab: &Lab, ports: usize) -> usize {
    let mut http = Http::tcp(&lab.node, LISTEN.parse().unwrap());
    let (status, body) = http.ask("GET /metrics", OPEN, b"").unwrap();
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text.matches("\nharbor_port_state{").count(), ports);
    text.len()
}

/// The median and the most.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    format!("{median:.2?} (at most {most:.2?} of {})", times.len())
}
