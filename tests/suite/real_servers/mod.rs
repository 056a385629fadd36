//! Real servers behind ports, driven by their own clients, over each family: no error.
//!
//! One server on the first app host listens on its addresses of both families; a port for each
//! family leads to it.

mod bulk;
mod dns;
mod https;
mod mqtt;
mod postgres;
mod redis;
mod ssh;

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use kit::{Agent, Family, Finished, Lab, Process, finish, finish_within};

/// Long enough for any of these clients on a loaded machine.
const MINUTES: Duration = Duration::from_secs(180);

/// A lab with a real server on the first app host.
struct Server {
    name: &'static str,
    agent: Agent,
    processes: Vec<Process>,
    lab: Lab,
}

impl Server {
    /// Starts the server by this command.
    #[track_caller]
    fn start(lab: Lab, name: &'static str, command: &mut Command) -> Self {
        let agent = Agent::start(&lab);
        let processes = vec![Process::start(command, lab.folder(), name)];
        Self {
            name,
            agent,
            processes,
            lab,
        }
    }

    /// Starts another process beside the server.
    #[track_caller]
    fn and(mut self, command: &mut Command) -> Self {
        let name = format!("{}-{}", self.name, self.processes.len());
        self.processes
            .push(Process::start(command, self.lab.folder(), &name));
        self
    }

    /// Creates a port that leads to the server's port `number` over this family.
    #[track_caller]
    fn port(&self, family: Family, number: u16) -> SocketAddr {
        let name = format!("{}-{family:?}", self.name);
        let backend = SocketAddr::new(self.lab.app(family, 0), number).to_string();
        let port = self.agent.create(&[&name, "--backend", &backend]);
        SocketAddr::new(self.lab.public(family), port)
    }

    /// Runs a client, with the port's address and number where it says `HOST` and `PORT`.
    #[track_caller]
    fn client(&self, to: SocketAddr, words: &[&str]) -> Finished {
        let (host, port) = (to.ip().to_string(), to.port().to_string());
        let mut command = self.lab.client.command(words[0]);
        command.args(words[1..].iter().map(|word| match *word {
            "HOST" => &host,
            "PORT" => &port,
            word => word,
        }));
        finish_within(MINUTES, &mut command)
    }
}

/// The addresses that servers listen on.
fn addresses(lab: &Lab) -> [IpAddr; 2] {
    Family::BOTH.map(|family| lab.app(family, 0))
}

#[test]
fn what_these_tests_start_is_installed() {
    for program in [
        "redis-check-rdb",
        "redis-benchmark",
        "dnsmasq",
        "dig",
        "iperf3",
        "pg_createcluster",
        "pgbench",
        "mosquitto",
        "mosquitto_sub",
        "sshd",
        "ssh",
        "openssl",
        "curl",
    ] {
        let found = ["/usr/bin", "/usr/sbin"]
            .iter()
            .any(|folder| Path::new(folder).join(program).exists());
        assert!(found, "{program} is missing: cargo xtask setup");
    }
    finish(Command::new("iperf3").arg("--version")).ok();
}
