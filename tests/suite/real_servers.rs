//! Real servers behind ports, driven by their own clients: no error.

use std::{
    fs, net::SocketAddr, os::unix::process::CommandExt, path::Path, process::Command,
    time::Duration,
};

use kit::{Agent, Finished, Lab, Process, V4, eventually, finish, finish_within, traffic};
use serde_json::Value;

use crate::scene::Scene;

const MINUTES: Duration = Duration::from_secs(180);

/// A lab with one real server on the first app host, behind a port.
struct Server {
    _agent: Agent,
    _process: Process,
    to: SocketAddr,
    lab: Lab,
}

impl Server {
    #[track_caller]
    fn behind(lab: Lab, name: &str, port: u16, mut command: Command) -> Self {
        let process = Process::start(&mut command, lab.folder(), name);
        let agent = Agent::start(&lab);
        let backend = SocketAddr::new(lab.app(V4, 0), port).to_string();
        let to = SocketAddr::new(lab.public(V4), agent.create(&[name, "--backend", &backend]));
        Self {
            _agent: agent,
            _process: process,
            to,
            lab,
        }
    }

    /// Runs a client, with the port's address and number where it says `HOST` and `PORT`.
    #[track_caller]
    fn client(&self, words: &[&str]) -> Finished {
        let (host, port) = (self.to.ip().to_string(), self.to.port().to_string());
        let mut command = self.lab.client.command(words[0]);
        command.args(words[1..].iter().map(|word| match *word {
            "HOST" => &host,
            "PORT" => &port,
            word => word,
        }));
        finish_within(MINUTES, &mut command)
    }
}

#[test]
fn redis_serves_its_benchmark() {
    let lab = Lab::routed();
    // Debian's redis-tools holds the server as well; it goes by the name it is called by.
    let mut command = lab.apps[0].command("redis-check-rdb");
    command.arg0("redis-server").current_dir(lab.folder());
    command.args([
        "--port",
        "6379",
        "--bind",
        "10.77.2.11",
        "--save",
        "",
        "--protected-mode",
        "no",
    ]);
    let redis = Server::behind(lab, "redis", 6379, command);
    eventually(MINUTES, || {
        redis
            .client(&["redis-cli", "-h", "HOST", "-p", "PORT", "ping"])
            .stdout
            == "PONG\n"
    });
    let benchmark = redis
        .client(&[
            "redis-benchmark",
            "-h",
            "HOST",
            "-p",
            "PORT",
            "-n",
            "20000",
            "-t",
            "set,get",
            "-q",
        ])
        .ok();
    let said = format!("{}{}", benchmark.stdout, benchmark.stderr);
    assert!(!said.to_lowercase().contains("error"), "{said}");
    for verb in ["SET: ", "GET: "] {
        assert!(
            said.contains(verb) && said.contains("requests per second"),
            "{said}"
        );
    }
    let value = redis.client(&["redis-cli", "-h", "HOST", "-p", "PORT", "dbsize"]);
    assert_eq!(value.ok().stdout, "1\n");
}

#[test]
fn dnsmasq_answers_two_thousand_queries() {
    let lab = Lab::routed();
    let mut command = lab.apps[0].command("dnsmasq");
    command.args([
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
    ]);
    command.args([
        "--user=root",
        "--listen-address=10.77.2.11",
        "--bind-interfaces",
    ]);
    command.arg("--address=/harbor.test/192.0.2.53");
    let dns = Server::behind(lab, "udp-dns", 53, command);
    let queries = dns.lab.folder().join("queries");
    fs::write(&queries, lines(2000)).unwrap();
    let options = [
        "@HOST",
        "-p",
        "PORT",
        "+short",
        "+tries=1",
        "+timeout=5",
        "-f",
    ];
    let host = format!("@{}", dns.to.ip());
    let mut words = vec!["dig"];
    words.extend(options.map(|word| if word == "@HOST" { host.as_str() } else { word }));
    words.push(queries.to_str().unwrap());
    eventually(MINUTES, || {
        dns.client(&["dig", &host, "-p", "PORT", "+short", "up.harbor.test"])
            .stdout
            .contains("192.0.2.53")
    });
    let answers = dns.client(&words).ok().stdout;
    let right = answers.lines().filter(|line| *line == "192.0.2.53").count();
    assert_eq!((right, answers.lines().count()), (2000, 2000));
}

fn lines(count: usize) -> String {
    (0..count)
        .map(|number| format!("host{number}.harbor.test A\n"))
        .collect()
}

#[test]
fn iperf3_runs_in_both_directions_with_default_offloads() {
    let lab = Lab::routed();
    let mut command = lab.apps[0].command("iperf3");
    command.args(["--server", "--bind", "10.77.2.11"]);
    let iperf = Server::behind(lab, "iperf", 5201, command);
    eventually(MINUTES, || iperf_run(&iperf, "1M", &[])["error"].is_null());
    for direction in [&[][..], &["--reverse"]] {
        let report = iperf_run(&iperf, "200M", direction);
        assert!(report["error"].is_null(), "{report}");
        let bytes = |side: &str| report["end"][side]["bytes"].as_u64().unwrap();
        assert!(bytes("sum_sent") >= 200 << 20, "{direction:?}: {report}");
        // The receiver's count ends when the sender's report arrives, some segments early.
        let share = bytes("sum_received") as f64 / bytes("sum_sent") as f64;
        assert!(share > 0.95, "{direction:?}: {share}");
    }
}

fn iperf_run(iperf: &Server, bytes: &str, more: &[&str]) -> Value {
    let words = [
        "iperf3", "--client", "HOST", "--port", "PORT", "--json", "--bytes", bytes,
    ];
    iperf.client(&[&words[..], more].concat()).json()
}

#[test]
fn fifty_megabytes_come_back_as_they_went() {
    for scene in [Scene::routed(), Scene::bridged()] {
        traffic::transfer(&scene.lab.client, scene.port("bulk"), 50_000_000).unwrap();
    }
}

#[test]
fn what_these_tests_start_is_installed() {
    for program in [
        "redis-check-rdb",
        "redis-benchmark",
        "dnsmasq",
        "dig",
        "iperf3",
    ] {
        let found = ["/usr/bin", "/usr/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists());
        assert!(found, "{program} is missing: cargo xtask setup");
    }
    finish(Command::new("iperf3").arg("--version")).ok();
}
