//! How the proxy works, the same for all ports.

use std::{net::IpAddr, time::Duration};

use crate::model::Timeouts;

/// How long a worker's answer is waited for; workers never wait themselves.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

/// How the proxy works, the same for all ports.
#[derive(Clone, Debug)]
pub(crate) struct ProxySettings {
    pub(crate) timeouts: Timeouts,
    /// How long a backend may take to accept before another is tried as well.
    pub(crate) connect_timeout: Duration,
    /// How long all that are tried may take.
    pub(crate) give_up: Duration,
    /// How long one of whose sides has ended may be silent.
    pub(crate) half_closed: Duration,
    /// What a port's flows may have of the descriptors that are left for flows, in hundredths.
    pub(crate) port_share: u32,
    /// What a client's may.
    pub(crate) client_share: u32,
    /// The most flows, all ports together.
    pub(crate) flows: u32,
    /// `[node].addresses`; empty: every address.
    pub(crate) addresses: Vec<IpAddr>,
}
