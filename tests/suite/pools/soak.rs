//! What a pool does when something dies, again and again: how long nothing new was served, how long what
//! stood was silent, and what was lost. `HARBOR_SOAK_RUNS` says how often.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kit::{Family, Netns, V4, eventually, traffic};
use nix::sys::signal::Signal;

use super::{Pair, SETTLED, share};

/// Connections that stand meanwhile.
const LIVE: usize = 50;
/// How long is measured after the fault.
const AFTER: Duration = Duration::from_secs(5);
/// A connection that takes longer is tried again.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// What goes wrong at the node that has the share, and what puts it right.
type Fault = (&'static str, fn(&mut Pair, usize), fn(&mut Pair, usize));

const FAULTS: [Fault; 6] = [
    (
        "the node is cut off",
        |pair, holder| pair.lab.unplug(&pair.hosts[holder], true),
        |pair, holder| pair.lab.unplug(&pair.hosts[holder], false),
    ),
    (
        "the node is cut off, the Redis dead before",
        |pair, holder| {
            pair.redis.kill();
            pair.lab.unplug(&pair.hosts[holder], true);
        },
        |pair, holder| {
            pair.lab.unplug(&pair.hosts[holder], false);
            pair.redis.restart();
        },
    ),
    (
        "keepalived is killed",
        |pair, holder| pair.movers[holder].signal(Signal::SIGKILL),
        |_, _| {},
    ),
    (
        "keepalived is stopped for good",
        |pair, holder| pair.movers[holder].signal(Signal::SIGSTOP),
        |pair, holder| pair.movers[holder].signal(Signal::SIGCONT),
    ),
    (
        "the agent is killed",
        |pair, holder| pair.agents[holder].kill(),
        |pair, holder| pair.agents[holder].restart(),
    ),
    (
        "the other node's agent is killed, and the node cut off",
        |pair, holder| {
            pair.agents[1 - holder].kill();
            pair.lab.unplug(&pair.hosts[holder], true);
        },
        |pair, holder| {
            pair.lab.unplug(&pair.hosts[holder], false);
            pair.agents[1 - holder].restart();
        },
    ),
];

/// The longest time without what was tried, while it was tried again and again.
fn longest(is_over: &AtomicBool, mut succeeds: impl FnMut() -> bool) -> Duration {
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !is_over.load(Relaxed) {
        if succeeds() {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        thread::sleep(PAUSE);
    }
    longest.max(last.elapsed())
}

/// How long no new connection was served, and how long a flow that stands was silent.
fn beside(client: &Netns, to: SocketAddr, work: impl FnOnce()) -> [Duration; 2] {
    let asker = traffic::Asker::new(client, V4);
    asker.ask(to, b"first").unwrap();
    asker.ask(to, b"second").unwrap();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let connects = scope.spawn(|| {
            let connect = || TcpStream::connect_timeout(&to, PATIENCE).is_ok();
            longest(&is_over, || client.enter(connect))
        });
        let asks = scope.spawn(|| {
            let ask = || {
                asker
                    .try_ask(to, b"more", Duration::from_millis(50))
                    .is_some()
            };
            longest(&is_over, ask)
        });
        work();
        thread::sleep(AFTER);
        is_over.store(true, Relaxed);
        [connects.join().unwrap(), asks.join().unwrap()]
    })
}

/// Both nodes have copies, and one has the share.
fn is_settled(pair: &Pair) -> bool {
    let has_copies = |agent| share(agent)["copies"][0]["full"] == true;
    pair.is_well() && pair.agents.iter().all(has_copies)
}

#[test]
#[ignore = "runs for minutes"]
fn soak_pool() {
    let runs = env::var("HARBOR_SOAK_RUNS").ok();
    let runs: usize = runs.and_then(|text| text.parse().ok()).unwrap_or(20);
    for (name, break_it, mend_it) in FAULTS {
        let mut pair = Pair::start();
        let port = pair.port("app");
        let to = pair.at(V4, port);
        let (mut worst, mut lost) = ([Duration::ZERO; 2], [0; 2]);
        for _ in 0..runs {
            eventually(2 * SETTLED, || is_settled(&pair));
            let live = Family::BOTH
                .map(|family| traffic::Live::open(&pair.lab.client, pair.at(family, port), LIVE));
            // What is younger than a second may be lost.
            thread::sleep(Duration::from_secs(1));
            let holder = pair.holder();
            let client = pair.lab.client.clone();
            let took = beside(&client, to, || break_it(&mut pair, holder));
            for (worst, took) in worst.iter_mut().zip(took) {
                *worst = (*worst).max(took);
            }
            lost[0] += live.iter().map(traffic::Live::ended).sum::<usize>();
            mend_it(&mut pair, holder);
            eventually(2 * SETTLED, || is_settled(&pair));
            for live in live {
                lost[1] += live.finish().errors.len();
            }
        }
        let ([new, stood], [at_once, mended]) = (worst, lost);
        println!(
            "{name}, {runs} runs: nothing new for {new:.2?} at the worst, a flow silent for {stood:.2?}; of {} \
             connections {at_once} were lost, {mended} once it was mended",
            2 * LIVE * runs
        );
    }
}
