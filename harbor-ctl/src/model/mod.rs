//! The domain: services, ports, backends, flows. Pure data; knows std, serde, ipnet,
//! strsim, and utoipa for the schema of what travels.
//!
//! What was typed becomes one of these types only after it was checked, so the rest of the agent
//! never sees a bad name, port or address.

mod address;
mod app_host;
mod client_ip;
mod clock;
mod config_item;
mod counted;
mod doubt;
mod environment;
mod escape;
mod event;
mod flow;
mod flow_copy;
mod flow_filter;
mod given;
mod health;
mod health_check;
mod health_object;
mod host_rule;
mod http_limits;
mod lifetime;
mod limits_object;
mod membership;
mod mode;
mod moment;
mod name;
mod nearest;
mod network;
mod node;
mod period;
mod policy;
mod pool;
mod port_ref;
mod port_set;
mod port_state;
mod protocol;
mod provision;
mod question;
mod range;
mod rate;
mod refusal;
mod registry_url;
mod report;
mod rotation;
mod secret;
mod seen;
mod service;
mod service_events;
mod setting_schema;
mod setting_value;
mod settings;
mod special;
mod throughput;
mod timeouts;
mod tls;
mod trace;
mod turns;
mod verification;

pub(crate) use address::*;
pub(crate) use app_host::*;
pub(crate) use client_ip::*;
pub(crate) use clock::now;
pub(crate) use config_item::*;
pub(crate) use counted::*;
pub(crate) use doubt::*;
pub(crate) use environment::*;
pub(crate) use escape::*;
pub(crate) use event::*;
pub(crate) use flow::*;
pub(crate) use flow_copy::*;
pub(crate) use flow_filter::*;
pub(crate) use health::*;
pub(crate) use health_check::*;
pub(crate) use host_rule::*;
pub(crate) use http_limits::*;
pub(crate) use lifetime::*;
pub(crate) use membership::*;
pub(crate) use mode::*;
pub(crate) use moment::*;
pub(crate) use name::*;
pub(crate) use nearest::*;
pub(crate) use network::*;
pub(crate) use node::*;
pub(crate) use period::*;
pub(crate) use policy::*;
pub(crate) use pool::*;
pub(crate) use port_ref::*;
pub(crate) use port_set::*;
pub(crate) use port_state::*;
pub(crate) use protocol::*;
pub(crate) use provision::*;
pub(crate) use question::*;
pub(crate) use range::*;
pub(crate) use rate::*;
pub(crate) use refusal::*;
pub(crate) use registry_url::*;
pub(crate) use report::*;
pub(crate) use rotation::*;
pub(crate) use secret::*;
pub(crate) use seen::*;
pub(crate) use service::*;
pub(crate) use service_events::*;
pub(crate) use setting_schema::*;
pub(crate) use setting_value::*;
pub(crate) use settings::*;
pub(crate) use throughput::*;
pub(crate) use timeouts::*;
pub(crate) use tls::*;
pub(crate) use trace::*;
pub(crate) use turns::*;
pub(crate) use verification::*;

#[cfg(test)]
pub(crate) mod testing {
    //! Values that unit tests of several modules need.

    use super::{PortSettings, Protocols, Service};

    /// A service without backends, with the defaults of this version.
    pub(crate) fn service(name: &str, port: u16, protocols: Protocols) -> Service {
        Service {
            id: format!("id-{name}"),
            name: name.to_owned(),
            port,
            protocols,
            settings: PortSettings::default(),
            draining: false,
            created_at: 1_000,
            node: String::new(),
            pool: String::new(),
            revision: 0,
            backends: Vec::new(),
            provisioned: None,
            bindings: Vec::new(),
            expires_at: None,
        }
    }
}
