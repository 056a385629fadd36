//! The host names and addresses at which this node says its ports can be reached.

use std::{fs, net::IpAddr};

use super::{Controller, addresses::host_addresses};
use crate::{config::Config, model::Place, registry::Registry};

impl<R: Registry> Controller<R> {
    /// As configured now, and as the host is now.
    pub(crate) fn place(&self) -> Place {
        let config = &self.running.config;
        Place {
            hostname: match config.hostname.as_str() {
                "" => system_name(),
                name => name.to_owned(),
            },
            host: address(config).map(|ip| ip.to_string()).unwrap_or_default(),
            ext_hostname: config.public.hostname.clone(),
            ext_host: config.public.address.map(|ip| ip.to_string()),
        }
    }
}

fn system_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The first address that serves ports: configured, or of the interfaces; IPv4 before IPv6.
fn address(config: &Config) -> Option<IpAddr> {
    if let Some(first) = config.addresses.first() {
        return Some(*first);
    }
    let is_ours =
        |name: &str| config.interfaces.is_empty() || config.interfaces.iter().any(|i| i == name);
    let found = host_addresses().into_iter();
    let usable = found.filter(|(name, ip)| is_ours(name) && is_reachable(*ip));
    let mut usable: Vec<IpAddr> = usable.map(|(_, ip)| ip).collect();
    usable.sort_by_key(IpAddr::is_ipv6);
    usable.first().copied()
}

fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}
