//! `[metrics]`: the TCP listener for scrapes, and how detailed metrics are.

use std::net::SocketAddr;

use super::check::Check;

/// With more backends than this, `auto` gives none of them metrics of its own.
const FEW_BACKENDS: usize = 1_000;

/// `[metrics]`
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MetricsConfig {
    /// `None`: the control socket alone has them.
    pub(crate) listen: Option<SocketAddr>,
    /// More names that they are asked by.
    pub(crate) hosts: Vec<String>,
    /// Backends have metrics of their own while there are no more.
    pub(crate) most_backends: usize,
}

impl Check {
    pub(super) fn metrics(&mut self) -> MetricsConfig {
        let address = |text: &str| match text {
            "" => Ok(None),
            text => text.parse::<SocketAddr>().map(Some).map_err(|_| {
                format!("{text:?} is not an address with a port, for example 127.0.0.1:9442")
            }),
        };
        MetricsConfig {
            listen: self.read("metrics.listen", address, None),
            hosts: self.host_names("metrics.hosts"),
            most_backends: match self.text("metrics.per_backend").as_str() {
                "on" => usize::MAX,
                "off" => 0,
                _ => FEW_BACKENDS,
            },
        }
    }
}
