//! The console where there are many ports: what it costs the agent, and whether a page that stays open
//! for a minute grows. Nothing here depends on how long anything takes.

use std::{
    fs,
    thread::sleep,
    time::{Duration, Instant},
};

use kit::{Agent, Browser, Config, Lab, http::Http};
use serde_json::json;

use super::{browser, client::wait_for, console_lines};
use crate::scale::{BACKENDS, fill};

/// What the console may add to the agent's memory, in KiB.
const MEMORY: u64 = 16 * 1_024;
/// What a page that is looked at may add to the browser's heap, in octets: it keeps the samples of an hour.
const HEAP: f64 = 2e6;
/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(100);

#[test]
fn a_hundred_ports_are_shown_live_without_growth() {
    println!("{}", run(101, Duration::from_secs(5)));
}

/// What the agent has used over a while.
struct Cost {
    /// The most that it kept to itself, in KiB.
    memory: u64,
    /// Of one processor.
    share: f64,
}

impl Cost {
    fn text(&self) -> String {
        let (mib, percent) = (self.memory as f64 / 1_024.0, self.share * 100.0);
        format!("{mib:.1} MiB, {percent:.0} % of a processor")
    }
}

/// Watches the agent for a while.
fn watch(agent: &mut Agent, span: Duration) -> Cost {
    let (begun, used) = (Instant::now(), agent.process().cpu());
    let mut memory = 0;
    while begun.elapsed() < span {
        memory = memory.max(agent.process().memory());
        sleep(LOOK);
    }
    let used = agent.process().cpu() - used;
    let share = used.as_secs_f64() / begun.elapsed().as_secs_f64();
    Cost { memory, share }
}

/// Fills an agent with ports, and has a browser look at each page of them for so long.
pub(crate) fn run(ports: usize, span: Duration) -> String {
    let lab = Lab::routed();
    let log = "[log]\nlevel = \"info\"\n";
    let mut agent = Agent::start_with(&lab, &Config::with(log));
    fill(&mut Http::new(&agent.socket()), ports);
    let idle = span / 6;
    // From a start on, as with the console: what filling left behind is not what ports need.
    agent.stop();
    agent.restart();
    let without = watch(&mut agent, idle);

    agent.stop();
    let file = agent.config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + &console_lines(&lab)).unwrap();
    agent.restart();
    wait_for(&lab.node);
    let unseen = watch(&mut agent, idle);

    let mut browser = browser::at_console(&lab);
    let mut told = format!(
        "{ports} ports of {BACKENDS} backends: without the console {}; with it and nobody there {}",
        without.text(),
        unseen.text(),
    );
    let mut most = unseen.memory;
    for page in ["/ports", "/ports?sort=state", "/", "/backends"] {
        let (cost, text) = look_at(&mut agent, &mut browser, (page, span));
        most = most.max(cost.memory);
        told += &format!("\n{page}: {text}, agent {}", cost.text());
    }
    let added = most.saturating_sub(without.memory);
    assert!(added <= MEMORY, "the console takes {added} KiB: {told}");
    told
}

/// Opens a page, and leaves it open while it keeps itself fresh.
fn look_at(
    agent: &mut Agent,
    browser: &mut Browser,
    (page, span): (&str, Duration),
) -> (Cost, String) {
    browser.open(&browser::address(page));
    browser.until("document.querySelectorAll('#fresh tbody tr').length > 0");
    let shown = browser.value(
        "(() => { const page = performance.getEntriesByType('navigation')[0]; \
         const paint = performance.getEntriesByName('first-contentful-paint')[0]; \
         return [page.responseEnd, page.domContentLoadedEventEnd, paint ? paint.startTime : 0]; })()",
    );
    let rows = browser.value("document.querySelectorAll('#fresh tbody tr').length");
    // What a page loads once is there after it was made fresh for the first time.
    browser.value("document.getElementById('fresh').dataset.first = 'yes'");
    browser.until("!document.getElementById('fresh').dataset.first");
    let before = size(browser);
    let cost = watch(agent, span);
    // It has gone on meanwhile.
    browser.value("document.getElementById('fresh').dataset.first = 'yes'");
    browser.until("!document.getElementById('fresh').dataset.first");
    let after = size(browser);
    let text = format!(
        "answered, ready and painted after {shown} ms with {rows} rows; after {span:?} elements {} -> {}, \
         heap {:.2} -> {:.2} MB",
        before.0,
        after.0,
        before.1 / 1e6,
        after.1 / 1e6
    );
    assert!(after.0 <= before.0 + 50, "{page} grows: {text}");
    assert!(after.1 <= before.1 + HEAP, "{page} grows: {text}");
    (cost, text)
}

/// Elements of the page, and octets of its scripts' heap after what is not used was taken out.
fn size(browser: &mut Browser) -> (u64, f64) {
    browser.call("HeapProfiler.collectGarbage", &json!({}));
    let heap = browser.call("Runtime.getHeapUsage", &json!({}));
    let elements = browser.value("document.querySelectorAll('*').length");
    (
        elements.as_u64().unwrap(),
        heap["usedSize"].as_f64().unwrap(),
    )
}
