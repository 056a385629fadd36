//! This host's addresses, and which backend addresses are therefore refused.

use std::net::IpAddr;

use crate::{config::Config, model::BackendRule};

/// The rule for backends as of now: addresses of the node come and go.
pub(super) fn backend_rule(config: &Config) -> BackendRule {
    let mut own = config.addresses.clone();
    own.extend(host_addresses().into_iter().map(|(_, ip)| ip));
    BackendRule {
        own,
        near: near(),
        allowed: config.allow_networks.clone(),
        networks: config.backend_networks.clone(),
    }
}

/// Broadcast addresses of the networks of this host, and the routers that it sends everything else to.
fn near() -> Vec<(IpAddr, &'static str)> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let broadcast = interfaces.filter_map(|interface| {
        let own = u32::from(interface.address?.as_sockaddr_in()?.ip());
        let mask = u32::from(interface.netmask?.as_sockaddr_in()?.ip());
        // A network of two addresses has none (RFC 3021).
        let last = (mask.count_ones() < 31).then_some(own | !mask)?;
        let kind = "a broadcast address of this node's networks";
        Some((IpAddr::from(last.to_be_bytes()), kind))
    });
    let routers = routers().into_iter();
    let routers = routers.map(|ip| (ip, "a router of this node"));
    broadcast.chain(routers).collect()
}

/// Gateways of default routes, of both families (proc_net(5)).
fn routers() -> Vec<IpAddr> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let v4 = read("/proc/net/route");
    let v4 = v4.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "00000000", gateway, ..] = words.as_slice() else {
            return None;
        };
        let octets = u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes();
        Some(IpAddr::from(octets))
    });
    let v6 = read("/proc/net/ipv6_route");
    let v6 = v6.lines().filter_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "00", _, _, gateway, ..] = words.as_slice() else {
            return None;
        };
        Some(IpAddr::from(
            u128::from_str_radix(gateway, 16).ok()?.to_be_bytes(),
        ))
    });
    v4.chain(v6).filter(|ip| !ip.is_unspecified()).collect()
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
