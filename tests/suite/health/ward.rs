//! A scene whose apps can be killed and revived, and whose ports are probed every second.

use std::{net::SocketAddr, time::Duration};

use kit::{Agent, Config, Family, Lab, Process, eventually, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;

use super::web::{WEB_PORT, Web};
use crate::scene::APP_PORT;

/// Settings that every port of these tests has.
const QUICK: [&str; 3] = ["health_interval_s=1", "health_timeout_s=1", "health_rise=1"];

/// Fields are dropped in this order: the agent first, the ground under it last.
pub(super) struct Ward {
    pub(super) agent: Agent,
    apps: [Option<Process>; 2],
    pub(super) lab: Lab,
    family: Family,
}

impl Ward {
    #[track_caller]
    pub(super) fn new(family: Family) -> Self {
        Self::with(family, "")
    }

    /// With these lines of configuration.
    #[track_caller]
    pub(super) fn with(family: Family, more: &str) -> Self {
        let lab = Lab::routed();
        let agent = Agent::start_with(&lab, &Config::with(more));
        let mut ward = Self {
            agent,
            apps: [None, None],
            lab,
            family,
        };
        ward.revive(0);
        ward.revive(1);
        ward
    }

    /// Where an app listens, counted from 0.
    pub(super) fn app(&self, index: u8) -> SocketAddr {
        SocketAddr::new(self.lab.app(self.family, index), APP_PORT)
    }

    /// Creates a port with both apps behind it; its public address.
    #[track_caller]
    pub(super) fn port(&self, name: &str, settings: &[&str]) -> SocketAddr {
        let backends = [self.app(0).to_string(), self.app(1).to_string()];
        let start = [name, "--backend", &backends[0], "--backend", &backends[1]];
        let words = [&start[..], &QUICK, settings].concat();
        let port = self.agent.create(&words);
        SocketAddr::new(self.lab.public(self.family), port)
    }

    /// Creates a port with a web server on each app host, which are asked for `/up`.
    #[track_caller]
    pub(super) fn webs(&self, name: &str, settings: &[&str]) -> ([Web; 2], SocketAddr) {
        let at = |index| SocketAddr::new(self.lab.app(self.family, index), WEB_PORT);
        let webs = [
            Web::start(&self.lab.apps[0], at(0), "app1"),
            Web::start(&self.lab.apps[1], at(1), "app2"),
        ];
        let backends = [at(0).to_string(), at(1).to_string()];
        let start = [name, "--backend", &backends[0], "--backend", &backends[1]];
        let words = [&start[..], &QUICK, &["health=http:/up"], settings].concat();
        let port = self.agent.create(&words);
        (webs, SocketAddr::new(self.lab.public(self.family), port))
    }

    pub(super) fn signal(&self, index: usize, signal: Signal) {
        let app = self.apps[index].as_ref().expect("the app runs");
        app.signal(signal);
    }

    /// What `explain` says of a client's first packet to this port.
    #[track_caller]
    pub(super) fn explained(&self, to: SocketAddr) -> String {
        let from = SocketAddr::new(self.lab.client_address(self.family), 40_000);
        let (src, dst) = (from.to_string(), to.to_string());
        let words = ["explain", "--src", &src, "--dst", &dst];
        self.agent.ctl(&words).ok().stdout
    }

    /// Waits until so many backends are probed, and this port's have been asked.
    #[track_caller]
    pub(super) fn probed(&self, port: &str, backends: usize) {
        let text = format!("{backends} backends of");
        eventually(Duration::from_secs(20), || {
            let status = self.status();
            let is_followed = status["health"]["text"].as_str().unwrap().contains(&text);
            is_followed && self.agent.ctl(&["backends", "check", port]).code == 0
        });
    }

    /// Waits until the agent has been asked for its state over so many seconds.
    pub(super) fn elapses(&self, seconds: u64) {
        let uptime = || self.status()["uptime_s"].as_u64().unwrap();
        let until = uptime() + seconds;
        eventually(Duration::from_secs(60), || uptime() >= until);
    }

    /// Ends an app without a word to anybody.
    #[track_caller]
    pub(super) fn kill(&mut self, index: usize) {
        let mut app = self.apps[index].take().expect("the app runs");
        app.signal(Signal::SIGKILL);
        app.wait(Duration::from_secs(10));
    }

    #[track_caller]
    pub(super) fn revive(&mut self, index: u8) {
        let host = &self.lab.apps[usize::from(index)];
        let name = format!("app{}", index + 1);
        let ports = self.lab.app_ports(index, APP_PORT);
        // The log of a process that was killed says `ready` already.
        let _ = std::fs::remove_file(self.lab.folder().join(format!("{name}.out")));
        let app = traffic::serve(host, self.lab.folder(), &name, &ports);
        self.apps[usize::from(index)] = Some(app);
    }

    /// `status`, which may be degraded.
    pub(super) fn status(&self) -> Value {
        self.agent.ctl(&["status", "-o", "json"]).json()
    }

    pub(super) fn backends(&self, port: &str) -> Vec<Value> {
        self.agent.items(&["backends", "list", port])
    }

    /// Waits until the backends of a port have these states.
    #[track_caller]
    pub(super) fn becomes(&self, deadline: Duration, port: &str, states: [&str; 2]) {
        eventually(deadline, || {
            let backends = self.backends(port);
            let found: Vec<Value> = backends.iter().map(|b| b["state"].clone()).collect();
            found == states
        });
    }

    /// Both apps take turns.
    #[track_caller]
    pub(super) fn is_balanced(&self, to: SocketAddr) {
        let tally = traffic::connect(&self.lab.client, to, 10);
        let counts = (tally.of("app1"), tally.of("app2"), tally.errors.len());
        assert_eq!(counts, (5, 5, 0), "{tally:?}");
    }
}
