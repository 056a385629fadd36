//! Routes, neighbours and interfaces as JSON.

use aya::maps::lpm_trie::Key;
use harbor_common::route::{Interface, Neighbour, NextHop, Route, RouteKey};
use serde_json::{Value, json};

use super::prefix;

pub(super) fn route_key(key: &Key<RouteKey>) -> Value {
    let RouteKey { view, address } = key.data();
    let bits = key.prefix_len().saturating_sub(32);
    json!({ "view": view, "network": prefix(bits, &address) })
}

pub(super) fn route(route: &Route) -> Value {
    let gateway = (!route.gateway.is_unspecified()).then(|| route.gateway.to_string());
    json!({
        "gateway": gateway, "ifindex": route.ifindex, "mtu": route.mtu,
        "connected": route.flags & Route::CONNECTED != 0,
    })
}

pub(super) fn neighbour(neighbour: &Neighbour) -> Value {
    json!({ "address": neighbour.address.to_string(), "ifindex": neighbour.ifindex })
}

pub(super) fn next_hop(_: u32, hop: &NextHop) -> Value {
    let mac = |octets: &[u8]| {
        let octets = octets.iter().map(|octet| format!("{octet:02x}"));
        octets.collect::<Vec<_>>().join(":")
    };
    json!({
        "destination": mac(&hop.octets()[..6]), "source": mac(&hop.octets()[6..]),
        "ifindex": hop.ifindex, "probed_ns": hop.probed_ns,
    })
}

pub(super) fn interface(_: u32, interface: &Interface) -> Value {
    let is = |flag| interface.flags & flag != 0;
    json!({
        "ifindex": interface.ifindex, "takes_frames": is(Interface::TAKES_FRAMES),
        "rp_filter": match (is(Interface::STRICT), is(Interface::LOOSE)) {
            (true, _) => "strict",
            (_, true) => "loose",
            _ => "off",
        },
    })
}
