//! Which hosts are on the node's networks.

use std::net::IpAddr;

use kit::NODE_MAC;

use super::{reading::Packet, world::World};

impl World {
    /// Whether an address is on one of the node's networks: of its own, as far as the prefix goes.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        self.own().any(|own| is_beside(*own, address))
    }

    /// Whether a client's packet comes in by one side of the node, and its sender is on the network of
    /// the other.
    pub(super) fn is_forged(&self, packet: &Packet) -> bool {
        let is_inside = self
            .translation
            .iter()
            .any(|own| is_beside(*own, packet.source));
        let outer = self
            .public
            .iter()
            .filter(|own| !self.translation.contains(own));
        let is_outside = outer.into_iter().any(|own| is_beside(*own, packet.source));
        match packet.hardware == NODE_MAC {
            true => is_inside,
            false => is_outside,
        }
    }
}

/// Whether an address is on the network of one of the node's own.
fn is_beside(own: IpAddr, address: IpAddr) -> bool {
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(other)) => {
            // The network itself and everybody on it are no neighbours.
            let is_host = ![0, 255].contains(&other.octets()[3]);
            own.octets()[..3] == other.octets()[..3] && is_host
        }
        (IpAddr::V6(own), IpAddr::V6(other)) => own.segments()[..4] == other.segments()[..4],
        _ => false,
    }
}
