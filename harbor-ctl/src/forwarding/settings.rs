//! Translates the configuration into settings of the datapath.

use super::kernel::Settings;
use crate::{config::Config, datapath::Hook, model::Terms};

/// What the datapath needs to know.
pub(crate) fn of(config: &Config) -> Settings {
    Settings {
        bpf: config.paths.bpf.clone(),
        interfaces: config.interfaces.clone(),
        addresses: config.addresses.clone(),
        hook: match config.hook.as_str() {
            "tcx" => Some(Hook::Tcx),
            "clsact" => Some(Hook::Clsact),
            _ => None,
        },
        mode: config.mode,
        flows: config.flows,
        source_ports: config.source_ports.numbers(),
        source_addresses: config.source_addresses.clone(),
        log: config.log.datapath,
        terms: terms(config),
    }
}

/// What flows live by.
pub(crate) fn terms(config: &Config) -> Terms {
    Terms {
        timeouts: config.timeouts,
        min_path_mtu: config.min_path_mtu,
        is_passive: config.is_passive_on,
        is_guarded: config.is_guarded,
        shares: config.limits.shares.or_parts_of(config.flows),
    }
}
