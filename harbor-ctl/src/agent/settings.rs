//! The configuration in the datapath's words.

use super::forwarding::{Settings, Timeouts};
use crate::{config::Config, datapath::Hook};

/// What the datapath needs to know.
pub(super) fn of(config: &Config) -> Settings {
    let timeouts = config.timeouts;
    Settings {
        bpf: config.paths.bpf.clone(),
        interfaces: config.interfaces.clone(),
        addresses: config.addresses.clone(),
        hook: match config.hook.as_str() {
            "tcx" => Some(Hook::Tcx),
            "clsact" => Some(Hook::Clsact),
            _ => None,
        },
        flows: config.flows,
        source_ports: config.source_ports.numbers(),
        log: config.log.datapath,
        timeouts: Timeouts {
            opening: timeouts.opening,
            tcp_established: timeouts.tcp_established,
            tcp_closed: timeouts.tcp_closed,
            udp_single: timeouts.udp_single,
            udp_stream: timeouts.udp_stream,
        },
    }
}
