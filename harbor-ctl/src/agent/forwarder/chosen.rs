//! The configuration, applied to the interfaces and addresses that the host has now.

use std::{collections::BTreeSet, net::IpAddr};

use super::{Options, Settings};
use crate::{
    datapath::{Interface, Snapshot},
    reconcile::OwnAddresses,
};

impl Settings {
    pub(super) fn options(&self) -> Options {
        Options {
            flows: self.flows,
            source_ports: self.source_ports.clone(),
            log: self.log,
        }
    }

    /// The interfaces to attach to.
    pub(super) fn chosen(&self, snapshot: &Snapshot) -> Vec<Interface> {
        let wanted = |interface: &&Interface| {
            if self.interfaces.is_empty() {
                interface.is_eligible()
            } else {
                interface.is_up && self.interfaces.contains(&interface.name)
            }
        };
        snapshot.interfaces.iter().filter(wanted).cloned().collect()
    }

    /// What is configured and not there, in words.
    pub(super) fn missing(&self, snapshot: &Snapshot) -> BTreeSet<String> {
        let is_missing = |name: &&String| {
            !snapshot
                .interfaces
                .iter()
                .any(|interface| interface.name == **name && interface.is_up)
        };
        let interfaces = self.interfaces.iter().filter(is_missing);
        let local = snapshot.local_addresses();
        let foreign = self.source_addresses.iter().filter(|a| !local.contains(a));
        let words = interfaces.map(|name| format!("interface {name} is missing or down"));
        let foreign = foreign
            .map(|address| format!("source address {address} is not an address of this node"));
        words.chain(foreign).collect()
    }

    pub(super) fn own_addresses(&self, snapshot: &Snapshot) -> OwnAddresses {
        let public: BTreeSet<IpAddr> = if self.addresses.is_empty() {
            let chosen = self.chosen(snapshot);
            chosen.iter().flat_map(Interface::reachable).collect()
        } else {
            self.addresses.iter().copied().collect()
        };
        OwnAddresses {
            public,
            local: snapshot.local_addresses(),
            sources: self.source_addresses.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::settings;

    #[test]
    fn a_link_local_address_is_local_and_never_public() {
        let source = crate::config::Source {
            path: "/nowhere/harbor.toml".into(),
            must_exist: false,
            environment: Vec::new(),
            flags: vec!["datapath.source_addresses=192.0.2.9".into()],
        };
        let settings = settings::of(&crate::config::load(&source).unwrap().config);
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let interface = Interface {
            name: "eth0".into(),
            is_up: true,
            is_ethernet: true,
            addresses: read(&["192.0.2.1", "2001:db8::1", "fe80::1"]),
            ..Interface::default()
        };
        let lonely = Interface {
            name: "eth1".into(),
            addresses: read(&["fe80::2"]),
            ..interface.clone()
        };
        let snapshot = Snapshot {
            interfaces: vec![interface, lonely],
        };
        assert_eq!(settings.chosen(&snapshot).len(), 1);
        let own = settings.own_addresses(&snapshot);
        assert_eq!(own.public, read(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(own.local.len(), 4);
        let missing: Vec<String> = settings.missing(&snapshot).into_iter().collect();
        assert_eq!(
            missing,
            ["source address 192.0.2.9 is not an address of this node"]
        );
    }
}
