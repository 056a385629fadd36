//! Which hosts are on the node's networks.

use std::net::IpAddr;

use kit::NODE_MAC;

use super::{flow::Is, reading::Packet, world::World};

impl World {
    /// Whether an address is on one of the node's networks: of its own, as far as the prefix goes.
    pub(super) fn is_neighbour(&self, address: IpAddr) -> bool {
        self.own().any(|own| is_beside(*own, address))
    }

    /// Whether a client's packet comes in by one side of the node, and its sender is on the network of
    /// the other; maybe, if that is nobody's address there.
    pub(super) fn is_forged(&self, packet: &Packet) -> Is {
        let outer = self.public.iter();
        let outer = outer.filter(|own| !self.translation.contains(own));
        let others: Vec<IpAddr> = match packet.hardware == NODE_MAC {
            true => self.translation.clone(),
            false => outer.copied().collect(),
        };
        let mut others = others.into_iter();
        match others.find(|own| is_within(*own, packet.source)) {
            None => Is::No,
            Some(_) if is_host(packet.source) => Is::Yes,
            Some(_) => Is::Maybe,
        }
    }
}

/// Whether an address can be a host's: the network itself and everybody on it are none.
fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => ![0, 255].contains(&address.octets()[3]),
        IpAddr::V6(_) => true,
    }
}

/// Whether an address is on the network of one of the node's own.
fn is_beside(own: IpAddr, address: IpAddr) -> bool {
    is_within(own, address) && is_host(address)
}

/// The same, by its prefix alone.
fn is_within(own: IpAddr, address: IpAddr) -> bool {
    match (own, address) {
        (IpAddr::V4(own), IpAddr::V4(other)) => own.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(own), IpAddr::V6(other)) => own.segments()[..4] == other.segments()[..4],
        _ => false,
    }
}
