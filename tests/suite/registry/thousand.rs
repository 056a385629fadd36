//! What a thousand nodes ask of one Redis. One real agent's calls are recorded for a minute, and 998 made-up nodes
//! repeat them, each at a moment of its own, beside two real ones.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use kit::{Agent, Netns, Redis, V4, eventually, finish_within, http::Http};

use super::{REDIS, Shared, other};

/// Made-up nodes; a registry has 1,000 at the most.
const NODES: usize = 998;
/// Ports that there are.
const PORTS: usize = 500;
/// What is recorded, and repeated: every call that an agent makes once a minute is in it.
const MINUTE: Duration = Duration::from_secs(60);
/// Threads that speak for the made-up nodes.
const SPEAKERS: usize = 4;
/// Changes whose way to another node is timed.
const CHANGES: usize = 100;
const SETTLED: Duration = Duration::from_secs(60);

/// A call: when it came, and its words.
type Call = (Duration, Vec<String>);

/// `cargo xtask soak thousand_nodes`; `HARBOR_SOAK_NODES` says how many.
#[test]
#[ignore = "runs for minutes"]
fn soak_thousand_nodes() {
    let nodes = env::var("HARBOR_SOAK_NODES").ok();
    let nodes = nodes.and_then(|text| text.parse().ok()).unwrap_or(NODES);
    let shared = Shared::start();
    let (scene, redis) = (&shared.scene, &shared.redis);
    let two = other(&scene.lab, &redis.config("two"), "two");
    let mut http = Http::new(&scene.agent.socket());
    for number in 0..PORTS {
        create(&mut http, &format!("app-{number}"));
    }
    let named = format!("app-{}", PORTS - 1);
    eventually(SETTLED, || two.ctl(&["ports", "show", &named]).code == 0);
    let address = SocketAddr::new(scene.lab.app(V4, 1), REDIS);
    let calls = record(&scene.lab.apps[1], address);
    println!(
        "one node: {:.1} calls a second",
        calls.len() as f64 / MINUTE.as_secs_f64()
    );
    let tokens = calls[0].1.iter().find(|word| word.ends_with(":tokens"));
    let tokens = tokens.unwrap();
    for number in 0..nodes {
        let node = format!("made-up-{number}");
        redis.say(&["HSET", tokens, &node, &node]).ok();
    }
    let alone = measure(redis, &scene.agent, &two);
    println!("two nodes: {alone}");
    let is_over = AtomicBool::new(false);
    let [answers, refusals] = [AtomicU64::new(0), AtomicU64::new(0)];
    let beside = thread::scope(|scope| {
        for speaker in 0..SPEAKERS {
            let (calls, host, counts) = (&calls, &scene.lab.apps[1], (&answers, &refusals));
            let own = (0..nodes).skip(speaker).step_by(SPEAKERS).collect();
            let is_over = &is_over;
            scope.spawn(move || host.enter(|| speak(own, calls, address, is_over, counts)));
        }
        // Connections take a while.
        thread::sleep(MINUTE / 6);
        let before = answers.load(Relaxed);
        let begun = Instant::now();
        let beside = measure(redis, &scene.agent, &two);
        let rate = (answers.load(Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
        is_over.store(true, Relaxed);
        format!("{rate:.0} calls a second, {beside}")
    });
    println!(
        "{nodes} nodes more: {beside}; refused {}",
        refusals.load(Relaxed)
    );
}

fn create(http: &mut Http, name: &str) {
    let body = format!("{{\"name\": {name:?}, \"protocol\": \"tcp\"}}");
    let (status, said) = http.post("/v1/ports", body.as_bytes()).unwrap();
    assert!(status < 300, "{status}: {}", String::from_utf8_lossy(&said));
}

/// What Redis uses of a processor during a minute, and how long changes take from one node to the other.
fn measure(redis: &Redis, one: &Agent, two: &Agent) -> String {
    let before = redis.cpu();
    let begun = Instant::now();
    let (mut here, mut there) = (Http::new(&one.socket()), Http::new(&two.socket()));
    let mut took: Vec<Duration> = (0..CHANGES)
        .map(|number| {
            let name = format!("change-{number}");
            create(&mut here, &name);
            let made = Instant::now();
            let path = format!("GET /v1/ports/{name}");
            eventually(SETTLED, || there.ask(&path, "", b"").unwrap().0 == 200);
            let took = made.elapsed();
            here.ask(&format!("DELETE /v1/ports/{name}"), "", b"")
                .unwrap();
            thread::sleep(MINUTE / 2 / CHANGES as u32);
            took
        })
        .collect();
    thread::sleep(MINUTE.saturating_sub(begun.elapsed()));
    took.sort();
    let used = (redis.cpu() - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let at = |part: usize| took[(CHANGES * part / 100).min(CHANGES - 1)];
    format!(
        "Redis uses {:.1} % of a processor; a change is known at the other node after {:.0?} (median), {:.0?} (99 of \
         100), {:.0?} (all)",
        used * 100.0,
        at(50),
        at(99),
        at(100)
    )
}

/// The calls of node `one` in a minute.
#[track_caller]
fn record(host: &Netns, redis: SocketAddr) -> Vec<Call> {
    let seconds = MINUTE.as_secs().to_string();
    let mut command = host.command("timeout");
    let (ip, port) = (redis.ip().to_string(), redis.port().to_string());
    command.args([&seconds, "redis-cli", "-h", &ip, "-p", &port, "monitor"]);
    let printed = finish_within(2 * MINUTE, &mut command).stdout;
    let mut first = None;
    let mut calls = Vec::new();
    for line in printed.lines() {
        let words: Vec<String> = line
            .split('"')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect();
        let at = line.split(' ').next().and_then(|at| at.parse::<f64>().ok());
        // Made within scripts, or by others.
        let is_meant = !line.contains(" lua]") && words.iter().any(|word| word == "one");
        if let (Some(at), true) = (at, is_meant) {
            let first = *first.get_or_insert(at);
            calls.push((Duration::from_secs_f64(at - first), words));
        }
    }
    assert!(calls.len() > 60, "{} calls", calls.len());
    calls
}

/// Speaks for these nodes until it is over.
fn speak(
    nodes: Vec<usize>,
    calls: &[Call],
    redis: SocketAddr,
    is_over: &AtomicBool,
    (answers, refusals): (&AtomicU64, &AtomicU64),
) {
    let token = calls[0].1.iter().position(|word| word == "one").unwrap() + 1;
    let token = &calls[0].1[token];
    let begun = Instant::now();
    let mut buffer = vec![0; 1 << 20];
    let mut speakers: Vec<_> = nodes
        .into_iter()
        .map(|number| {
            let stream = TcpStream::connect(redis).unwrap();
            stream.set_nonblocking(true).unwrap();
            let name = format!("made-up-{number}");
            // Each at a moment of its own.
            let phase = MINUTE * u32::try_from(number * 7_919 % 1_000).unwrap() / 1_000;
            let next = calls.partition_point(|(at, _)| *at < phase);
            (stream, name, phase, next)
        })
        .collect();
    while !is_over.load(Relaxed) {
        for (stream, name, phase, next) in &mut speakers {
            let now = begun.elapsed() + *phase;
            let round = MINUTE * u32::try_from(*next / calls.len()).unwrap();
            let (at, words) = &calls[*next % calls.len()];
            if round + *at <= now {
                *next += 1;
                let words = words.iter().map(|word| match word.as_str() {
                    "one" => name.as_str(),
                    word if word == token => name.as_str(),
                    word => word,
                });
                let _ = stream.write_all(&encoded(words));
                answers.fetch_add(1, Relaxed);
            }
            if let Ok(length @ 1..) = stream.read(&mut buffer)
                && buffer[..length].starts_with(b"-")
            {
                refusals.fetch_add(1, Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A call as Redis reads it.
fn encoded<'a>(words: impl ExactSizeIterator<Item = &'a str>) -> Vec<u8> {
    let mut octets = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        octets.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    octets
}
