//! How many of the source ports towards each backend are in use.
//!
//! A translated flow leaves with one of this node's addresses and a number of `datapath.source_ports`;
//! towards one address and port of a backend, in one protocol, each pair is used once at a time.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::backends::Loads;
use crate::{
    config::Config,
    model::{Engine, Protocol},
};

/// How many flows one backend can have at a time, by family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SourcePorts {
    v4: u64,
    v6: u64,
}

impl SourcePorts {
    pub(crate) fn of(config: &Config) -> Self {
        // The address that the route prefers, and those that were given besides.
        let addresses = |is_own: fn(&IpAddr) -> bool| {
            1 + config.source_addresses.iter().filter(|a| is_own(a)).count() as u64
        };
        let numbers = config.source_ports.len() as u64;
        Self {
            v4: numbers * addresses(IpAddr::is_ipv4),
            v6: numbers * addresses(IpAddr::is_ipv6),
        }
    }

    /// The part in use towards each backend, of the protocol that uses more.
    pub(super) fn fill(&self, loads: &Loads) -> BTreeMap<SocketAddr, f64> {
        let mut flows = BTreeMap::<(SocketAddr, Protocol), u64>::new();
        // What goes through the proxy leaves with the host's own numbers.
        for report in loads.all().filter(|r| is_translated(r.engine)) {
            *flows.entry((report.address, report.protocol)).or_default() += report.flows;
        }
        let mut fill = BTreeMap::<SocketAddr, f64>::new();
        for ((address, _), flows) in flows {
            let most = match address {
                SocketAddr::V4(_) => self.v4,
                SocketAddr::V6(_) => self.v6,
            };
            let used = flows as f64 / most as f64;
            let known = fill.entry(address).or_default();
            *known = known.max(used);
        }
        fill
    }
}

/// Whether the programs give flows their source ports: at XDP go those that TC has begun.
fn is_translated(engine: Engine) -> bool {
    matches!(engine, Engine::Tc | Engine::Xdp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_at_xdp_use_source_ports_as_well_and_those_of_the_proxy_do_not() {
        assert!(is_translated(Engine::Tc) && is_translated(Engine::Xdp));
        assert!(!is_translated(Engine::Proxy) && !is_translated(Engine::ProxyForRoute));
    }
}
