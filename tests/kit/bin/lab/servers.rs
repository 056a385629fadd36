//! Real servers on both app hosts, each of which can be told from the other, and ports for them.

use std::{collections::BTreeMap, net::SocketAddr, os::unix::process::CommandExt, time::Duration};

use kit::{Agent, Lab, Process, V4, eventually, finish};

/// Redis on both app hosts behind a TCP port, dnsmasq on both behind a UDP port.
pub(crate) struct Servers {
    /// The TCP port.
    pub(crate) redis: SocketAddr,
    /// The UDP port.
    pub(crate) dns: SocketAddr,
    processes: Vec<Process>,
}

/// The name that the servers of an app host answer with.
const NAMES: [&str; 2] = ["app1", "app2"];

impl Servers {
    /// Starts the servers and creates the ports.
    pub(crate) fn start(lab: &Lab, agent: &Agent) -> Self {
        let mut processes = Vec::new();
        for index in [0, 1] {
            processes.push(redis(lab, index));
            processes.push(dnsmasq(lab, index));
        }
        for index in [0, 1] {
            name_redis(lab, index);
        }
        let port = |name: &str, port: u16| {
            let backends = [0, 1].map(|i| SocketAddr::new(lab.app(V4, i), port).to_string());
            let words = [name, "--backend", &backends[0], "--backend", &backends[1]];
            SocketAddr::new(lab.public(V4), agent.create(&words))
        };
        Self {
            redis: port("redis", 6379),
            dns: port("udp-dns", 53),
            processes,
        }
    }

    /// Lets the processes stay.
    pub(crate) fn keep(self) {
        self.processes.into_iter().for_each(Process::keep);
    }

    /// Asks Redis for its name over new connections: who answered how often.
    pub(crate) fn ask_redis(&self, lab: &Lab, count: usize) -> BTreeMap<String, usize> {
        let (host, port) = (self.redis.ip().to_string(), self.redis.port().to_string());
        tally(count, || {
            let mut command = lab.client.command("redis-cli");
            finish(command.args(["-h", &host, "-p", &port, "get", "name"])).stdout
        })
    }

    /// Asks DNS for its name from new sockets: who answered how often.
    pub(crate) fn ask_dns(&self, lab: &Lab, count: usize) -> BTreeMap<String, usize> {
        let (host, port) = (format!("@{}", self.dns.ip()), self.dns.port().to_string());
        tally(count, || {
            let mut command = lab.client.command("dig");
            command.args([&host, "-p", &port, "+short", "+tries=1", "+timeout=3"]);
            finish(command.args(["name.harbor.test", "TXT"]))
                .stdout
                .replace('"', "")
        })
    }
}

fn tally(count: usize, mut ask: impl FnMut() -> String) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for _ in 0..count {
        *names.entry(ask().trim().to_owned()).or_default() += 1;
    }
    names
}

fn redis(lab: &Lab, index: u8) -> Process {
    let host = usize::from(index);
    // Debian's redis-tools holds the server as well; it goes by the name it is called by.
    let mut command = lab.apps[host].command("redis-check-rdb");
    command.arg0("redis-server").current_dir(lab.folder());
    command.args([
        "--bind",
        &lab.app(V4, index).to_string(),
        "--save",
        "",
        "--protected-mode",
        "no",
    ]);
    Process::start(
        &mut command,
        lab.folder(),
        &format!("redis-{}", NAMES[host]),
    )
}

fn name_redis(lab: &Lab, index: u8) {
    let (host, address) = (usize::from(index), lab.app(V4, index).to_string());
    eventually(Duration::from_secs(10), || {
        let mut command = lab.apps[host].command("redis-cli");
        finish(command.args(["-h", &address, "set", "name", NAMES[host]])).stdout == "OK\n"
    });
}

fn dnsmasq(lab: &Lab, index: u8) -> Process {
    let host = usize::from(index);
    let mut command = lab.apps[host].command("dnsmasq");
    command.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
    ]);
    command.args([
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
        "--log-facility=-",
    ]);
    command.arg(format!("--listen-address={}", lab.app(V4, index)));
    command.arg(format!("--txt-record=name.harbor.test,{}", NAMES[host]));
    Process::start(
        &mut command,
        lab.folder(),
        &format!("dnsmasq-{}", NAMES[host]),
    )
}
