//! Many ports with many backends: how long it takes until all are served, and until one change is.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::{Agent, Config, Lab, Redis, V4, eventually, http::Http, traffic::Asker};
use serde_json::{Value, json};

/// Backends of each port.
pub(crate) const BACKENDS: usize = 20;
/// Changes that are timed, each of another port.
const CHANGES: usize = 200;
/// The first of those ports.
const FIRST_MOVED: usize = 45_000;

#[test]
fn five_hundred_ports_of_twenty_backends_are_served_again_after_a_cold_start() {
    println!("{}", run(501, Kept::Embedded));
}

/// Where the agent keeps its ports.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kept {
    Embedded,
    Redis,
}

/// Fills an agent with ports, starts it again without its tables, and changes one backend at a
/// time; says how long it took. Nothing here depends on how long.
pub(crate) fn run(ports: usize, kept: Kept) -> String {
    let lab = Lab::routed();
    let redis = match kept {
        Kept::Embedded => None,
        Kept::Redis => {
            let place = SocketAddr::new(lab.app(V4, 1), 6_379);
            Some(Redis::start(&lab.apps[1], lab.folder(), place))
        }
    };
    // What it costs is what an operator pays: other agents here tell far more.
    let mut config = "[log]\nlevel = \"info\"\n[ports]\nrange = \"35000-45999\"\n".to_owned();
    config.extend(redis.iter().map(|redis| redis.config("one")));
    let mut agent = Agent::start_with(&lab, &Config::with(&config));
    let mut http = Http::new(&agent.socket());
    let answers = [0, 1].map(|app| {
        let host = &lab.apps[usize::from(app)];
        let place = SocketAddr::new(lab.app(V4, app), 9_000);
        let name = ["app1", "app2"][usize::from(app)];
        kit::traffic::serve(host, lab.folder(), name, &[place])
    });
    let begun = Instant::now();
    fill(&mut http, ports);
    let filled = begun.elapsed();
    let client = Asker::new(&lab.client, V4);
    let last = SocketAddr::new(lab.public(V4), 34_999 + ports as u16);
    assert_eq!(client.ask(last, b"who").unwrap(), "app1");

    agent.stop();
    std::fs::remove_dir_all(lab.bpf()).unwrap();
    let begun = Instant::now();
    agent.launch();
    eventually(Duration::from_secs(120), || {
        client
            .try_ask(last, b"who", Duration::from_millis(50))
            .is_some()
    });
    let served = begun.elapsed();
    agent.wait_until_ready();
    let states = agent.items(&["ports", "list"]);
    let up = states.iter().filter(|port| port["state"] == "up").count();
    assert_eq!((states.len(), up), (ports, ports));

    let memory = agent.process().memory() / 1_024;
    let scraped = scraped(&agent);
    let after = agent.process().memory() / 1_024;
    let changes = changes(&agent, &lab);
    let resync = redis.as_ref().map_or(String::new(), |redis| {
        let resync = refilled(redis, ports + CHANGES);
        format!(", an emptied Redis filled again {resync:.2?}")
    });
    drop(answers);
    format!(
        "{kept:?}, {ports} ports of {BACKENDS} backends: filled in {filled:.2?}, cold start to the last port \
         served {served:.2?}, announced to first packet at the new backend p50 {:.2?} p99 {:.2?}, \
         agent {memory} MiB, a scrape {scraped}, then {after} MiB{resync}",
        changes[CHANGES / 2],
        changes[CHANGES * 99 / 100],
    )
}

/// Scrapes the agent once; how long it took, and how much it was.
fn scraped(agent: &Agent) -> String {
    let begun = Instant::now();
    let answer = Http::new(&agent.socket()).ask("GET /metrics", "", b"");
    let took = begun.elapsed();
    let (status, body) = answer.unwrap();
    assert_eq!(status, 200);
    let text = String::from_utf8(body).unwrap();
    let ports = text.matches("\nharbor_port_state{").count();
    assert_eq!(ports, agent.items(&["ports", "list"]).len());
    format!("{took:.2?} for {} KiB", text.len() / 1_024)
}

/// Makes so many ports. Of the first backend app1 answers; of the others nobody has to be there.
pub(crate) fn fill(http: &mut Http, ports: usize) {
    for number in 0..ports {
        let own = |index: usize| {
            format!(
                "10.77.2.11:{}",
                10_000 + (number * BACKENDS + index) % 50_000
            )
        };
        let mut backends: Vec<String> = (0..BACKENDS).map(own).collect();
        backends[0] = "10.77.2.11:9000".into();
        let port =
            json!({"name": format!("udp-{number}"), "port": 35_000 + number, "backends": backends});
        let (status, body) = http.post("/v1/ports", port.to_string().as_bytes()).unwrap();
        assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    }
}

/// Empties the Redis: how long until the node has put everything back.
fn refilled(redis: &Redis, ports: usize) -> Duration {
    redis.say(&["flushall"]).ok();
    let begun = Instant::now();
    eventually(Duration::from_secs(120), || {
        let services = redis.say(&["hlen", "{harbor:harbor}:services"]).ok();
        services.stdout.trim() == ports.to_string()
    });
    begun.elapsed()
}

/// Moves the one instance of a port to the other app host, port after port, and asks through it; the
/// times in ascending order.
fn changes(agent: &Agent, lab: &Lab) -> Vec<Duration> {
    let mut http = Http::new(&agent.socket());
    let mut post = |path: &str, body: Value| {
        let (status, answer) = http.post(path, body.to_string().as_bytes()).unwrap();
        assert!(
            status < 300,
            "{status} {}",
            String::from_utf8_lossy(&answer)
        );
    };
    let place = |dea: usize, seq: u64, app: u8| {
        json!({
            "v": 1, "dea": format!("dea{dea}"), "epoch": 1, "seq": seq,
            "instances": [{
                "service": format!("udp-moves-{dea}"), "instance": format!("i{seq}"),
                "ip": lab.app(V4, app).to_string(), "port": 9_000, "state": "up",
            }],
        })
    };
    for number in 0..CHANGES {
        let port = json!({"name": format!("udp-moves-{number}"), "port": FIRST_MOVED + number});
        post("/v1/ports", port);
        post("/v1/announce", place(number, 1, 0));
    }
    // Kept, so that no client gets the port of another, whose flow would go on.
    let (mut times, mut clients) = (Vec::new(), Vec::new());
    for number in 0..CHANGES {
        let to = SocketAddr::new(lab.public(V4), (FIRST_MOVED + number) as u16);
        let client = Asker::new(&lab.client, V4);
        let begun = Instant::now();
        post("/v1/announce", place(number, 2, 1));
        let name = client.ask(to, b"who").unwrap();
        times.push(begun.elapsed());
        assert_eq!(name, "app2", "after change {number}");
        clients.push(client);
    }
    times.sort();
    times
}
