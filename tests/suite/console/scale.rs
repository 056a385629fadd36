//! The console where there are many ports: what it costs the agent, and whether a page that stays open
//! for a minute grows. Nothing here depends on how long anything takes.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use kit::{
    Agent, Browser, Config, Lab, V4,
    http::Http,
    traffic::{self, Asker},
};
use serde_json::json;

use super::{
    ADMIN, browser,
    client::{Client, wait_for},
    console_lines,
};
use crate::scale::{BACKENDS, fill};

/// What the console may add to the agent's memory, in KiB.
const MEMORY: u64 = 16 * 1_024;
/// What a page that is looked at may add to the browser's heap, in octets: it keeps the samples of an hour.
const HEAP: f64 = 2e6;
/// The number of the first port.
const FIRST: u16 = 35_000;
/// Pages that are open at once, and how often the script fetches each anew.
const PAGES: usize = 30;
const FRESH: Duration = Duration::from_secs(2);
const LOOKED_AT: [&str; 10] = [
    "/",
    "/ports",
    "/ports?q=4&state=up&sort=flows&page=3",
    "/ports/35000",
    "/backends",
    "/backends?q=10.77.2.11:11",
    "/explain?src=10.77.1.2:40000&dst=10.77.1.1:35000&proto=udp",
    "/events",
    "/settings",
    "/certificates",
];
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

/// Tells threads to end, however the test ends.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Fills an agent with ports that all carry something, and has a browser look at each page of them for
/// so long.
pub(crate) fn run(ports: usize, span: Duration) -> String {
    let lab = Lab::routed();
    let log = "[log]\nlevel = \"info\"\n";
    let mut agent = Agent::start_with(&lab, &Config::with(log));
    fill(&mut Http::new(&agent.socket()), ports);
    let place = SocketAddr::new(lab.app(V4, 0), 9_000);
    let _answers = traffic::serve(&lab.apps[0], lab.folder(), "app1", &[place]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        scope.spawn(|| keep_busy(&lab, ports, &is_over));
        compare(&mut agent, &lab, (ports, span))
    })
}

/// Sends a datagram to each port every few seconds.
fn keep_busy(lab: &Lab, ports: usize, is_over: &AtomicBool) {
    let client = Asker::new(&lab.client, V4);
    while !is_over.load(Relaxed) {
        for number in 0..ports {
            let port = FIRST + number as u16;
            client.send(SocketAddr::new(lab.public(V4), port), b"busy");
        }
        sleep(FRESH);
    }
}

/// Starts it again, and has it load what the first dry run loads, whoever asks for that.
fn start_anew(agent: &mut Agent) {
    agent.stop();
    agent.restart();
    let before = agent.process().memory();
    let packet = ["--src", "10.77.1.2:40000", "--dst", "10.77.1.1:35000"];
    agent.ctl(&[&["explain"][..], &packet].concat()).ok();
    let after = agent.process().memory();
    println!("the first explain: {before} -> {after} KiB");
}

/// The agent without the console, and with it.
fn compare(agent: &mut Agent, lab: &Lab, (ports, span): (usize, Duration)) -> String {
    let idle = span / 6;
    // From a start on, as with the console: what filling left behind is not what ports need.
    start_anew(agent);
    let without = watch(agent, idle);

    let file = agent.config_file();
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text + &console_lines(lab)).unwrap();
    start_anew(agent);
    wait_for(&lab.node);
    let unseen = watch(agent, idle);

    let mut browser = browser::at_console(lab);
    let mut told = format!(
        "{ports} ports of {BACKENDS} backends: without the console {}; with it and nobody there {}",
        without.text(),
        unseen.text(),
    );
    let mut most = unseen.memory;
    let own = format!("/ports/{FIRST}");
    for page in ["/ports", "/ports?sort=rate", &own, "/", "/backends"] {
        let (cost, text) = look_at(agent, &mut browser, (page, span));
        most = most.max(cost.memory);
        told += &format!("\n{page}: {text}, agent {}", cost.text());
    }
    let crowd = with_many_pages(agent, lab, idle);
    most = most.max(crowd.memory);
    told += &format!("\n{PAGES} pages at once: agent {}", crowd.text());
    let added = most.saturating_sub(without.memory);
    assert!(added <= MEMORY, "the console takes {added} KiB: {told}");
    told
}

/// Has many pages keep themselves fresh, as the script does, but for the drawing.
fn with_many_pages(agent: &mut Agent, lab: &Lab, span: Duration) -> Cost {
    let ann = Client::signed_in(&lab.node, ADMIN);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for number in 0..PAGES {
            let line = format!("GET {}", LOOKED_AT[number % LOOKED_AT.len()]);
            let (ann, is_over) = (&ann, &is_over);
            scope.spawn(move || {
                let _stream = ann.stream_from(1);
                while !is_over.load(Relaxed) {
                    let answer = ann.ask(&line, "X-Harbor-Fresh: 1\r\n", "");
                    assert_eq!(answer.status, 200, "{}", answer.body);
                    sleep(FRESH);
                }
            });
        }
        watch(agent, span)
    })
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
