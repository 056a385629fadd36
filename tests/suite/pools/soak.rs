//! What a pool does when something dies, again and again: how long nothing new was served, how long what
//! stood was silent, and what was lost. `HARBOR_SOAK_RUNS` says how often, `HARBOR_SOAK_FAULT`
//! which, by a part of its name.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kit::{Agent, Netns, V4, eventually, relay, traffic};
use nix::sys::signal::Signal;

use super::{
    Pair, SETTLED, SYNC,
    crowd::{self, Crowd},
    share,
};

/// How long is measured after the fault.
const AFTER: Duration = Duration::from_secs(5);
/// How long the nodes do not hear each other.
const PARTED: Duration = Duration::from_secs(30);
/// Longer than anybody should wait: what was printed meanwhile is shown.
const SLOW: Duration = Duration::from_secs(2);
/// A connection that takes longer is tried again.
const PATIENCE: Duration = Duration::from_millis(200);
const PAUSE: Duration = Duration::from_millis(10);

/// What goes wrong at the node that has the share.
struct Fault {
    name: &'static str,
    /// What is different from the beginning on.
    before: fn(&Pair),
    breaks: fn(&mut Pair, usize),
    mends: fn(&mut Pair, usize),
}

const fn nothing(_: &Pair) {}
const fn heals(_: &mut Pair, _: usize) {}

fn cut_off(pair: &mut Pair, holder: usize) {
    pair.lab.unplug(&pair.hosts[holder], true);
}

fn plug_in(pair: &mut Pair, holder: usize) {
    pair.lab.unplug(&pair.hosts[holder], false);
}

const FAULTS: [Fault; 9] = [
    Fault {
        name: "the node is cut off",
        before: nothing,
        breaks: cut_off,
        mends: plug_in,
    },
    Fault {
        name: "the node is cut off, the Redis dead before",
        before: nothing,
        breaks: |pair, holder| {
            pair.redis.kill();
            cut_off(pair, holder);
        },
        mends: |pair, holder| {
            plug_in(pair, holder);
            pair.redis.restart();
        },
    },
    Fault {
        name: "keepalived is killed",
        before: nothing,
        breaks: |pair, holder| pair.movers[holder].signal(Signal::SIGKILL),
        mends: heals,
    },
    Fault {
        name: "keepalived is stopped for good",
        before: nothing,
        breaks: |pair, holder| pair.movers[holder].signal(Signal::SIGSTOP),
        mends: |pair, holder| pair.movers[holder].signal(Signal::SIGCONT),
    },
    Fault {
        name: "the agent is killed",
        before: nothing,
        breaks: |pair, holder| pair.agents[holder].kill(),
        mends: |pair, holder| pair.agents[holder].restart(),
    },
    Fault {
        name: "the other node's agent is killed, and the node cut off",
        before: nothing,
        breaks: |pair, holder| {
            pair.agents[1 - holder].kill();
            cut_off(pair, holder);
        },
        mends: |pair, holder| {
            plug_in(pair, holder);
            pair.agents[1 - holder].restart();
        },
    },
    Fault {
        name: "the node stands still for 4 s, and goes on as if nothing had been",
        before: nothing,
        breaks: |pair, holder| {
            cut_off(pair, holder);
            pair.movers[holder].signal(Signal::SIGSTOP);
            pair.agents[holder].freeze();
            thread::sleep(Duration::from_secs(4));
            plug_in(pair, holder);
            pair.movers[holder].signal(Signal::SIGCONT);
            pair.agents[holder].process().signal(Signal::SIGCONT);
        },
        mends: heals,
    },
    Fault {
        name: "copies come 2.5 s late, and the node is cut off",
        before: |pair| slow_copies(pair, Duration::from_millis(2_500)),
        breaks: cut_off,
        mends: plug_in,
    },
    Fault {
        name: "the nodes do not hear each other's keepalived for 30 s",
        before: nothing,
        breaks: |pair, _| {
            for host in &pair.hosts {
                host.nft("add table inet parted");
                host.nft("add chain inet parted out { type filter hook output priority 0; }");
                host.nft("add rule inet parted out meta l4proto 112 drop");
            }
            let parted = Instant::now();
            eventually(SETTLED, || (0..2).all(|node| pair.has_share(node)));
            thread::sleep(PARTED.saturating_sub(parted.elapsed()));
            for host in &pair.hosts {
                host.nft("delete table inet parted");
            }
        },
        mends: heals,
    },
];

/// Takes what one node tells the other of on a way that takes so long.
fn slow_copies(pair: &Pair, late: Duration) {
    let relayer = &pair.lab.apps[0];
    for (number, host) in (0..).zip(&pair.hosts) {
        let at = SocketAddr::new(pair.lab.app(V4, 0), SYNC + number);
        let peer = SocketAddr::new(pair.lab.backend_host(V4, 22 - number as u8), SYNC);
        relay(relayer, at, peer, late);
        host.nft("add table ip far");
        host.nft("add chain ip far out { type nat hook output priority -100; }");
        let to = peer.ip();
        host.nft(&format!(
            "add rule ip far out ip daddr {to} tcp dport {SYNC} dnat to {at}"
        ));
    }
    // Connections that stood before are not taken there.
    for host in &pair.hosts {
        let sockets = ["-K", "dport", "=", &SYNC.to_string()];
        kit::finish(host.command("ss").args(sockets)).ok();
    }
    for agent in &pair.agents {
        eventually(SETTLED, || share(agent)["copies"][0]["full"] == false);
    }
}

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

/// One node has the share, and the other may take it.
fn is_settled(pair: &Pair) -> bool {
    let is_ready = |agent: &Agent| {
        let has_copies = share(agent)["copies"][0]["full"] == true;
        has_copies && agent.ctl(&["pool", "ready", "a"]).code == 0
    };
    pair.is_well() && pair.agents.iter().all(is_ready)
}

#[test]
#[ignore = "runs for minutes"]
fn soak_pool() {
    let runs = env::var("HARBOR_SOAK_RUNS").ok();
    let runs: usize = runs.and_then(|text| text.parse().ok()).unwrap_or(20);
    let only = env::var("HARBOR_SOAK_FAULT").unwrap_or_default();
    for fault in FAULTS.iter().filter(|fault| fault.name.contains(&only)) {
        println!("{}, {runs} runs: {}", fault.name, suffer(fault, runs));
    }
}

/// Shows what may be why.
fn say_why(pair: &Pair, what: &str) {
    println!("{what}:");
    let neighbours = kit::finish(pair.lab.client.command("ip").arg("neigh"));
    println!("the client's neighbours:\n{}", neighbours.stdout);
    for (node, agent) in pair.agents.iter().enumerate() {
        let addresses = kit::finish(pair.hosts[node].command("ip").args(["-br", "address"]));
        let said = [
            &["pool", "show", "web"][..],
            &["pool", "ready", "a"],
            &["flows", "count", "--port", "app"],
            &["stats"],
        ];
        let said = said.map(|words| agent.ctl(words).stdout).concat();
        let printed = pair.movers[node].printed();
        let lines: Vec<&str> = printed.lines().collect();
        let lines = lines[lines.len().saturating_sub(30)..].join("\n");
        println!("node {node}:\n{}{said}{lines}", addresses.stdout);
    }
}

/// What a fault does again and again.
fn suffer(fault: &Fault, runs: usize) -> String {
    let mut pair = Pair::start();
    let port = pair.port("app");
    (fault.before)(&pair);
    let to = pair.at(V4, port);
    let (mut worst, mut lost) = ([Duration::ZERO; 2], [0; 2]);
    for _ in 0..runs {
        eventually(2 * SETTLED, || is_settled(&pair));
        let crowd = Crowd::open(&pair, port);
        // What is younger than a second may be lost.
        thread::sleep(Duration::from_secs(1));
        let holder = pair.holder();
        let client = pair.lab.client.clone();
        let took = beside(&client, to, || (fault.breaks)(&mut pair, holder));
        if took[0] > SLOW {
            say_why(&pair, &format!("nothing new for {:.2?}", took[0]));
        }
        for (worst, took) in worst.iter_mut().zip(took) {
            *worst = (*worst).max(took);
        }
        let kinds = [crowd.ended(), crowd.deaf(), crowd.astray()];
        let at_once: usize = kinds.iter().sum();
        if at_once > 0 {
            say_why(
                &pair,
                &format!("lost of the busy, the silent and UDP {kinds:?}"),
            );
        }
        lost[0] += at_once;
        (fault.mends)(&mut pair, holder);
        eventually(2 * SETTLED, || is_settled(&pair));
        lost[1] += crowd.deaf() + crowd.astray() + crowd.finish();
    }
    let ([new, stood], [at_once, mended]) = (worst, lost);
    format!(
        "nothing new for {new:.2?} at the worst, a flow silent for {stood:.2?}; of {} flows {at_once} were lost, \
         {mended} once it was mended",
        crowd::ALL * runs
    )
}
