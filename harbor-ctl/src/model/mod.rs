//! The domain: services, ports, backends, flows. Pure data; knows only std and serde.
//!
//! What was typed becomes one of these types only after it was checked, so the rest of the agent
//! never sees a bad name, port or address.

mod address;
mod config_item;
mod escape;
mod flow;
mod membership;
mod name;
mod period;
mod port_ref;
mod port_state;
mod protocol;
mod range;
mod refusal;
mod report;
mod service;
mod timeouts;

pub(crate) use address::*;
pub(crate) use config_item::*;
pub(crate) use escape::*;
pub(crate) use flow::*;
pub(crate) use membership::*;
pub(crate) use name::*;
pub(crate) use period::*;
pub(crate) use port_ref::*;
pub(crate) use port_state::*;
pub(crate) use protocol::*;
pub(crate) use range::*;
pub(crate) use refusal::*;
pub(crate) use report::*;
pub(crate) use service::*;
pub(crate) use timeouts::*;

#[cfg(test)]
pub(crate) mod testing {
    //! Values that unit tests of several modules need.

    use super::{Policy, Protocols, Service};

    /// A service without backends, with the defaults of this version.
    pub(crate) fn service(name: &str, port: u16, protocols: Protocols) -> Service {
        Service {
            id: format!("id-{name}"),
            name: name.to_owned(),
            port,
            protocols,
            tcp_policy: Policy::RoundRobin,
            udp_policy: Policy::First,
            drain_seconds: 30,
            draining: false,
            created_at: 1_000,
            backends: Vec::new(),
        }
    }
}
