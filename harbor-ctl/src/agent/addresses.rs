//! The addresses of this host, and which others may stand behind a port because of them.

use std::net::IpAddr;

use crate::{config::Config, model::BackendRule};

/// The rule for backends as of now: addresses of the node come and go.
pub(super) fn backend_rule(config: &Config) -> BackendRule {
    let mut own = config.addresses.clone();
    own.extend(host_addresses().into_iter().map(|(_, ip)| ip));
    BackendRule {
        own,
        allowed: config.allow_networks.clone(),
    }
}

/// Addresses of every interface, with its name.
pub(super) fn host_addresses() -> Vec<(String, IpAddr)> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            let ip = v4.or_else(|| Some(IpAddr::V6(address.as_sockaddr_in6()?.ip())))?;
            Some((interface.interface_name, ip))
        })
        .collect()
}
