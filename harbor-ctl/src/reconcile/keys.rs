//! Keys of frontends and backends in the plan.

use crate::model::Protocol;
use std::net::SocketAddr;

/// A (protocol, port) that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct FrontendKey {
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// One instance behind one frontend. The same endpoint behind two frontends is two of these: each
/// can leave without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct BackendKey {
    pub(crate) frontend: FrontendKey,
    pub(crate) address: SocketAddr,
}

impl FrontendKey {
    /// Its element of the `frontends` map.
    pub(crate) fn index(self) -> u32 {
        harbor_common::frontend::Frontend::index(self.protocol.into(), self.port)
    }

    /// The frontend of an element of the `frontends` map.
    pub(crate) fn from_index(index: u32) -> Self {
        let (protocol, port) = harbor_common::frontend::Frontend::from_index(index);
        Self {
            protocol: protocol.into(),
            port,
        }
    }
}
