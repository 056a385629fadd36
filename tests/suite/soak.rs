//! Long runs, out of CI: `cargo xtask soak NAME`. `HARBOR_SOAK_SECONDS` says how long.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use kit::{Config, Family, Lab, allow_many_descriptors, bound, eventually, traffic};

use crate::{
    console,
    flood::{flood, syns},
    gateway, malformed, many_flows, metrics,
    model::{self, Hooks},
    openapi, proxy, scale,
    scene::{FAMILIES, Scene},
    xdp,
};

/// How long a run is.
pub(crate) fn duration() -> Duration {
    let seconds = env::var("HARBOR_SOAK_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(600))
}

#[test]
#[ignore = "runs for minutes"]
fn churn_drains_to_nothing() {
    let timeouts = "[timeouts]\ntcp_closed = \"5s\"\nudp_single = \"5s\"\nudp_stream = \"5s\"\n";
    let scene = Scene::on(Lab::routed(), &Config::with(timeouts));
    // The client must not run out of ports of its own; reusing them is part of the exercise.
    let client = &scene.lab.client;
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let (web, dns) = (scene.port("web"), scene.port("udp-dns"));
    let begun = Instant::now();
    let mut connections = 0;
    while begun.elapsed() < duration() {
        let tally = traffic::connect(&scene.lab.client, web, 500);
        assert_eq!(
            (tally.of("app1"), tally.of("app2"), tally.errors.len()),
            (250, 250, 0),
            "{tally:?}"
        );
        assert_eq!(traffic::ask(&scene.lab.client, dns, 100).of("app1"), 100);
        connections += 600;
    }
    println!("{connections} flows in {:?}", begun.elapsed());
    eventually(Duration::from_secs(60), || {
        scene.agent.items(&["flows", "list"]).is_empty()
    });
}

#[test]
#[ignore = "runs for minutes"]
fn agents_die_all_the_time_and_no_connection_notices() {
    let mut scene = Scene::routed();
    let web = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, web, 200);
    let begun = Instant::now();
    let mut kills = 0;
    while begun.elapsed() < duration() {
        scene.agent.kill();
        let tally = traffic::connect(&scene.lab.client, web, 10);
        assert_eq!(
            (tally.of("app1"), tally.of("app2"), tally.errors.len()),
            (5, 5, 0),
            "{tally:?}"
        );
        scene.agent.restart();
        live.progress();
        kills += 1;
    }
    println!("{kills} kills in {:?}", begun.elapsed());
    assert_eq!(live.finish().errors, Vec::<String>::new());
}

/// Connections through one port, in how many threads, and how many between two looks.
const MILLION: usize = 1_000_000;
const THREADS: usize = 2;
const ROUND: usize = 10_000;

#[test]
#[ignore = "runs for minutes"]
fn a_million_connections_through_one_port_leave_an_empty_table() {
    let timeouts = "[timeouts]\nopening = \"2s\"\ntcp_closed = \"2s\"\ntcp_reset = \"2s\"\n";
    let scene = Scene::on(Lab::routed(), &Config::with(timeouts));
    let client = &scene.lab.client;
    // The client must not run out of ports of its own; reusing them is part of the exercise.
    client.set("net/ipv4/ip_local_port_range", "1024 65000");
    client.set("net/ipv4/tcp_tw_reuse", "1");
    let web = scene.port("web");
    let begun = Instant::now();
    let mut served = [0; 2];
    while served[0] + served[1] < MILLION {
        let round = || traffic::connect(client, web, ROUND / THREADS);
        let tallies: Vec<traffic::Tally> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(round)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        for tally in tallies {
            let done = served[0] + served[1];
            assert_eq!(tally.errors, Vec::<String>::new(), "after {done}");
            served[0] += tally.of("app1");
            served[1] += tally.of("app2");
        }
    }
    println!("{served:?} connections in {:?}, 0 errors", begun.elapsed());
    assert_eq!(served, [MILLION / 2; 2]);
    let ended = Instant::now();
    eventually(Duration::from_secs(60), || {
        scene.agent.items(&["flows", "list"]).is_empty()
    });
    println!("the table is empty {:?} after the last", ended.elapsed());
}

/// What `[datapath].flows` is by default; ten times as many SYNs arrive.
const FLOWS: u64 = 262_144;
/// SYNs that differ: many more than the table holds half-open flows, so that each opens one anew.
const SYNS: usize = 100_000;
const FLOOD: Duration = Duration::from_secs(30);
/// Connections to the flooded port that talk, and as many that do not.
const CONNECTIONS: usize = 500;
/// TCP asks again after a second: a connect that takes longer has lost a packet, or more.
const SOON: Duration = Duration::from_millis(1_100);

#[test]
#[ignore = "runs for minutes"]
fn a_flood_of_ten_tables_costs_neither_idle_nor_busy_connections_nor_other_ports() {
    allow_many_descriptors();
    for family in FAMILIES {
        let scene = Scene::routed().of(family);
        let (flooded, beside) = (scene.port("web"), scene.port("api"));
        let idle: Vec<_> = (0..CONNECTIONS).map(|_| quiet(&scene, flooded)).collect();
        let busy = traffic::Live::open(&scene.lab.client, flooded, CONNECTIONS);
        let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        let prepared: Vec<_> = syns(&scene, family, flooded).take(SYNS).collect();
        let begun = Instant::now();
        let connects = thread::scope(|scope| {
            scope.spawn(|| flood(&scene, prepared.iter().cycle(), &ends, &sent));
            let mut took = Vec::new();
            while begun.elapsed() < FLOOD || sent.load(Ordering::Relaxed) < 10 * FLOWS {
                let begun = Instant::now();
                let tally = traffic::connect(&scene.lab.client, beside, 1);
                took.push((begun.elapsed(), tally.errors.is_empty()));
            }
            ends.store(true, Ordering::Relaxed);
            took
        });
        let is_soon = |connect: &&(Duration, bool)| connect.1 && connect.0 <= SOON;
        let soon = connects.iter().filter(is_soon).count();
        println!(
            "{family:?}: {} SYNs in {:?}; {soon} of {} connects beside it within {SOON:?}, \
             {} failed, slowest {:?}; {} messages of busy connections",
            sent.load(Ordering::Relaxed),
            begun.elapsed(),
            connects.len(),
            connects.iter().filter(|connect| !connect.1).count(),
            connects.iter().map(|connect| connect.0).max().unwrap(),
            busy.exchanged(),
        );
        let lost = idle.iter().filter(|stream| !answers(stream)).count();
        busy.progress();
        let tally = busy.finish();
        println!("{family:?}: lost {lost} idle, {} busy", tally.errors.len());
        assert_eq!((lost, tally.errors), (0, Vec::new()));
        assert!(soon * 100 >= connects.len() * 99);
    }
}

/// A connection that was greeted.
fn quiet(scene: &Scene, to: SocketAddr) -> TcpStream {
    let from = SocketAddr::new(Family::of(to.ip()).any(), 0);
    let mut stream = scene.lab.client.enter(|| bound::dial(from, to)).unwrap();
    stream.read_exact(&mut [0; "app1\n".len()]).unwrap();
    stream
}

/// Whether the other end is there.
fn answers(mut stream: &TcpStream) -> bool {
    let mut echo = [0; 5];
    stream.write_all(b"still").is_ok() && stream.read_exact(&mut echo).is_ok() && &echo == b"still"
}

/// `cargo xtask soak xdp`
#[test]
#[ignore = "runs for minutes"]
fn xdp_swapped_a_hundred_times_under_a_thousand_connections() {
    xdp::swap(100, 1_000);
}

/// `cargo xtask soak fuzz`
#[test]
#[ignore = "runs for half an hour"]
fn fuzz_twenty_million_frames() {
    for hooks in [Hooks::Tc, Hooks::Tandem] {
        model::fuzz::run(hooks, 20_000_000);
    }
}

/// `cargo xtask soak sequences`
#[test]
#[ignore = "runs for a quarter of an hour"]
fn sequences_a_hundred_thousand() {
    for hooks in [Hooks::Tc, Hooks::Tandem] {
        model::sequences::run_both(hooks, 100_000);
    }
}

#[test]
#[ignore = "runs for minutes"]
fn a_million_malformed_announcements_change_nothing() {
    println!("{}", malformed::run(1_000_000));
}

#[test]
#[ignore = "runs for a minute"]
fn five_thousand_ports_of_twenty_backends_are_served_again_after_a_cold_start() {
    for kept in [scale::Kept::Embedded, scale::Kept::Redis] {
        println!("{}", scale::run(5_001, kept));
    }
}

/// `cargo xtask soak console_scale`
#[test]
#[ignore = "runs for five minutes"]
fn console_scale_of_five_thousand_ports_of_twenty_backends() {
    println!("{}", console::scale::run(5_001, Duration::from_secs(60)));
}

/// `cargo xtask soak metrics_scale`
#[test]
#[ignore = "runs for two minutes"]
fn metrics_scale_of_five_thousand_ports_of_twenty_backends() {
    for per_backend in ["auto", "on"] {
        println!("{}", metrics::scale::run(5_001, per_backend));
    }
}

/// `cargo xtask soak five_thousand_numbers`
#[test]
#[ignore = "runs for a minute"]
fn five_thousand_numbers_of_both_protocols_are_held() {
    println!("{}", proxy::held::run(5_001));
}

/// `cargo xtask soak flows_million`
#[test]
#[ignore = "runs for a minute, and needs 2 GiB"]
fn flows_million_are_counted_listed_and_ended() {
    println!("{}", many_flows::run(1_048_576));
}

#[test]
#[ignore = "runs for a quarter of an hour"]
fn a_million_mutated_requests_change_nothing() {
    println!("{}", gateway::withstands(1_000_000));
}

/// `cargo xtask soak schemathesis`
#[test]
#[ignore = "runs for minutes"]
fn schemathesis_makes_many_requests() {
    println!("{}", openapi::schemathesis_long());
}

#[test]
#[ignore = "runs for a minute"]
fn provision_rate() {
    println!("{}", gateway::measure(1_000));
}
