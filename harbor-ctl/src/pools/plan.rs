//! What a node needs to know to move its shares.

use std::net::IpAddr;

/// What a node needs to know to move its shares.
#[derive(Clone, Debug)]
pub(crate) struct EnginePlan {
    pub(crate) pool: String,
    pub(crate) node: String,
    /// How a node is asked whether it may have a share; the share's id follows.
    pub(crate) check: String,
    pub(crate) shares: Vec<EngineShare>,
}

/// A share, as this node may have it.
#[derive(Clone, Debug)]
pub(crate) struct EngineShare {
    pub(crate) id: String,
    pub(crate) number: u32,
    /// This node's place in the share's order, from 0.
    pub(crate) place: usize,
    pub(crate) wires: Vec<Wire>,
}

/// Addresses of one kind and family, and the segment that they are on.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    /// `front`: clients' side, `back`: backends' side.
    pub(crate) side: &'static str,
    pub(crate) interface: String,
    /// This node's own address there.
    pub(crate) own: IpAddr,
    /// The other nodes' there.
    pub(crate) peers: Vec<IpAddr>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl Wire {
    pub(super) fn is_v4(&self) -> bool {
        self.own.is_ipv4()
    }

    /// The names of what belongs to one share differ by side and family.
    pub(super) fn name(&self, share: &str) -> String {
        let family = if self.is_v4() { "" } else { "6" };
        format!("{share}-{}{family}", self.side)
    }
}

/// An address with the length of a network of itself.
pub(super) fn host_route(address: &IpAddr) -> String {
    let length = if address.is_ipv4() { 32 } else { 128 };
    format!("{address}/{length}")
}
