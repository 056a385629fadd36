//! What checks look at: the configuration, the host's network, and what an agent says if one runs.

use std::net::SocketAddr;

use crate::{
    config::{Config, ConfigError, Loaded},
    datapath::{Host, Snapshot},
};

/// What an agent says that checks need.
#[derive(Clone, Debug, Default)]
pub(crate) struct AgentFacts {
    pub(crate) pid: u32,
    /// The parts of `status` that are not ok: name, text and fix.
    pub(crate) troubles: Vec<(String, String, Option<String>)>,
    pub(crate) backends: Vec<SocketAddr>,
}

/// The host, as far as it can be read.
pub(crate) struct Patient {
    pub(crate) loaded: Result<Loaded, ConfigError>,
    /// `Err`: why nobody answers, where somebody should.
    pub(crate) agent: Result<Option<AgentFacts>, String>,
    /// How the shared registry answers; `None`: there is none.
    pub(crate) redis: Option<Result<String, String>>,
    pub(super) network: Result<(Host, Snapshot), String>,
}

impl Patient {
    /// Reads the host's network; must not be called where an event loop runs.
    pub(crate) fn new(loaded: Result<Loaded, ConfigError>) -> Self {
        let host = Host::connect().and_then(|host| {
            let snapshot = host.snapshot()?;
            Ok((host, snapshot))
        });
        Self {
            loaded,
            agent: Ok(None),
            redis: None,
            network: host.map_err(|error| error.to_string()),
        }
    }

    /// The configuration, where it can be used.
    pub(super) fn config(&self) -> Option<&Config> {
        self.loaded.as_ref().ok().map(|loaded| &loaded.config)
    }

    pub(super) fn running(&self) -> Option<&AgentFacts> {
        self.agent.as_ref().ok()?.as_ref()
    }

    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.network.as_ref().ok().map(|(_, snapshot)| snapshot)
    }
}
