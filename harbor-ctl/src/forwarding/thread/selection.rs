//! Resolves the configuration against the host's current interfaces and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{Forwarder, Options, Settings};
use crate::{
    datapath::{Hook, Interface, Role, Snapshot},
    reconcile::OwnAddresses,
};

impl Settings {
    pub(in crate::forwarding) fn options(&self) -> Options {
        Options {
            flows: self.flows,
            source_ports: self.source_ports.clone(),
            log: self.log,
            tracing: None,
        }
    }

    /// The interfaces to attach to. `attached` are those, by index, that have the program, and
    /// `towards` those that the ways to backends leave by.
    pub(in crate::forwarding) fn chosen(
        &self,
        snapshot: &Snapshot,
        attached: &BTreeMap<u32, Hook>,
        towards: &BTreeSet<u32>,
    ) -> Vec<Interface> {
        let wanted = |interface: &&Interface| match self.interfaces.is_empty() {
            true => interface.is_eligible(towards),
            false => {
                let is_held = attached.contains_key(&interface.index);
                let is_wanted =
                    self.is_named(interface) || is_held && self.may_keep(interface, snapshot);
                interface.can_have_program() && is_wanted
            }
        };
        snapshot.interfaces.iter().filter(wanted).cloned().collect()
    }

    /// Whether an interface that has the program keeps it: it is configured, or some configured
    /// interface is not there and this may be it, renamed.
    pub(super) fn may_keep(&self, interface: &Interface, snapshot: &Snapshot) -> bool {
        let exists = |name: &String| snapshot.interfaces.iter().any(|found| found.name == *name);
        self.is_named(interface) || !self.interfaces.iter().all(exists)
    }

    /// Whether the configuration names the interface, or names none.
    pub(super) fn is_named(&self, interface: &Interface) -> bool {
        self.interfaces.is_empty() || self.interfaces.contains(&interface.name)
    }

    /// What is configured and not there, in words.
    pub(in crate::forwarding) fn missing(&self, snapshot: &Snapshot) -> BTreeSet<String> {
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

    /// The node's own addresses, where these are the interfaces of [`Settings::chosen`].
    pub(super) fn own_addresses(&self, snapshot: &Snapshot, chosen: &[Interface]) -> OwnAddresses {
        let public: BTreeSet<IpAddr> = if self.addresses.is_empty() {
            // An address that stands on no wire is the host's own: a virtual or an anycast address.
            let is_own = |found: &&Interface| found.is_up && found.role == Role::Addresses;
            let own = snapshot.interfaces.iter().filter(is_own);
            chosen
                .iter()
                .chain(own)
                .flat_map(Interface::reachable)
                .collect()
        } else {
            self.addresses.iter().copied().collect()
        };
        OwnAddresses {
            public,
            local: snapshot.local_addresses(),
            sources: self.source_addresses.clone(),
            ..OwnAddresses::default()
        }
    }
}

impl Forwarder {
    /// The interfaces to attach to now.
    pub(super) fn chosen(&self) -> Vec<Interface> {
        let ways = self.inputs.routes.values();
        let towards = ways.map(|route| route.ifindex).collect();
        self.settings
            .chosen(&self.snapshot, &self.attached, &towards)
    }

    /// The node's own addresses now.
    pub(super) fn own_addresses(&self) -> OwnAddresses {
        let mut own = self.settings.own_addresses(&self.snapshot, &self.chosen());
        own.views = self.ways.views().clone();
        own.shares.clone_from(&self.own_shares);
        // What backends see of a share is no address for clients.
        let translation = own.shares.iter().flat_map(|share| &share.translation);
        for address in translation {
            own.public.remove(address);
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{datapath::Framing, forwarding::settings};

    fn of(flags: &[&str]) -> Settings {
        let source = crate::config::Source {
            path: "/nowhere/harbor.toml".into(),
            must_exist: false,
            environment: Vec::new(),
            flags: flags.iter().map(|flag| (*flag).into()).collect(),
        };
        settings::of(&crate::config::load(&source).unwrap().config)
    }

    #[test]
    fn a_link_local_address_is_local_and_never_public() {
        let settings = of(&["datapath.source_addresses=192.0.2.9"]);
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let interface = Interface {
            name: "eth0".into(),
            is_up: true,
            framing: Framing::Ethernet,
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
        let chosen = settings.chosen(&snapshot, &BTreeMap::new(), &BTreeSet::new());
        assert_eq!(chosen.len(), 1);
        let own = settings.own_addresses(&snapshot, &chosen);
        assert_eq!(own.public, read(&["192.0.2.1", "2001:db8::1"]));
        assert_eq!(own.local.len(), 4);
        assert!(settings.may_keep(&snapshot.interfaces[0], &snapshot));
        let missing: Vec<String> = settings.missing(&snapshot).into_iter().collect();
        assert_eq!(
            missing,
            ["source address 192.0.2.9 is not an address of this node"]
        );
    }

    #[test]
    fn a_configured_interface_under_a_new_name_keeps_the_program() {
        let interface = |index, name: &str| Interface {
            index,
            name: name.into(),
            is_up: true,
            framing: Framing::Ethernet,
            ..Interface::default()
        };
        let settings = Settings {
            interfaces: vec!["c".into(), "d".into()],
            ..of(&[])
        };
        let snapshot = |names: &[&str]| Snapshot {
            interfaces: (1..)
                .zip(names)
                .map(|(i, name)| interface(i, name))
                .collect(),
        };
        let attached = [(1, Hook::Tcx), (2, Hook::Tcx)].into();
        let chosen = |names: &[&str]| -> Vec<u32> {
            let chosen = settings.chosen(&snapshot(names), &attached, &BTreeSet::new());
            chosen.iter().map(|interface| interface.index).collect()
        };
        assert_eq!(chosen(&["c", "d", "e"]), [1, 2]);
        assert_eq!(chosen(&["wan0", "d", "e"]), [1, 2], "renamed");
        assert_eq!(chosen(&["e", "f", "c", "d"]), [3, 4], "no longer wanted");
    }
}
