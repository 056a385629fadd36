//! Clients, and the flows that they keep: see [`crate::flow::Phase::is_kept`].

use crate::addr::{Family, Ip};

/// Whose kept flows are counted; key of `clients`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientKey {
    /// The frontend's slot; [`ClientKey::ALL_PORTS`] = those at all ports.
    pub frontend: u32,
    /// The client's address; of IPv6 its network of 64 bits.
    pub network: Ip,
}
crate::assert_size!(ClientKey, 20);

impl ClientKey {
    /// In `frontend`: flows at all ports together.
    pub const ALL_PORTS: u32 = u32::MAX;

    /// The key of a client at a frontend.
    #[inline(always)]
    pub fn new<A: Family>(frontend: u32, client: &A) -> Self {
        Self {
            frontend,
            network: client.network(),
        }
    }
}
