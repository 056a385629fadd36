//! What most tests begin with: a lab, an app on each app host, and a running agent.

use std::net::SocketAddr;

use kit::{Agent, Config, Family, Lab, Process, V4, traffic};

/// The port that the apps listen on, TCP and UDP.
pub(crate) const APP_PORT: u16 = 9001;

/// The families that the datapath serves; tests that do not depend on one run over each.
pub(crate) const FAMILIES: [Family; 2] = Family::BOTH;

/// Fields are dropped in this order: the agent first, the ground under it last.
pub(crate) struct Scene {
    pub(crate) agent: Agent,
    #[expect(dead_code, reason = "held so that the apps run as long as the scene")]
    apps: [Process; 2],
    pub(crate) lab: Lab,
    family: Family,
}

impl Scene {
    /// On a routed lab, with the default configuration.
    #[track_caller]
    pub(crate) fn routed() -> Self {
        Self::on(Lab::routed(), &Config::default())
    }

    /// On a bridged lab, with the default configuration.
    #[track_caller]
    pub(crate) fn bridged() -> Self {
        Self::on(Lab::bridged(), &Config::default())
    }

    #[track_caller]
    pub(crate) fn on(lab: Lab, config: &Config) -> Self {
        let serve = |index: u8, name: &str| {
            let host = &lab.apps[usize::from(index)];
            traffic::serve(host, lab.folder(), name, &lab.app_ports(index, APP_PORT))
        };
        let apps = [serve(0, "app1"), serve(1, "app2")];
        Self {
            agent: Agent::start_with(&lab, config),
            apps,
            lab,
            family: V4,
        }
    }

    /// The same scene; from now on ports and backends are of this family.
    #[must_use]
    pub(crate) fn of(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Where an app listens, counted from 0.
    pub(crate) fn app(&self, index: u8) -> SocketAddr {
        SocketAddr::new(self.lab.app(self.family, index), APP_PORT)
    }

    /// Creates a port with both apps behind it; its public address.
    #[track_caller]
    pub(crate) fn port(&self, name: &str) -> SocketAddr {
        let backends = [self.app(0).to_string(), self.app(1).to_string()];
        let port = self
            .agent
            .create(&[name, "--backend", &backends[0], "--backend", &backends[1]]);
        self.at(port)
    }

    /// The public address of a port.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.lab.public(self.family), port)
    }
}
