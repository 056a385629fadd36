//! What the drivers of interfaces can do at XDP, and what of their offloads stands in its way.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use super::generic_netlink::{Command, Family, attribute, attributes, nested, value};

/// What one interface's driver can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    /// Sum of the constants below.
    features: u64,
    /// The offloads that are switched on and hide something from XDP.
    offloads: BTreeSet<&'static str>,
}

/// `enum netdev_xdp_act` of linux/netdev.h.
const BASIC: u64 = 1;
const REDIRECT: u64 = 2;
const NDO_XMIT: u64 = 4;

/// An offload, by the name that it has in the kernel, what it does, and how it is switched off.
struct Offload {
    name: &'static str,
    meaning: &'static str,
    switch: &'static str,
}

const OFFLOADS: [Offload; 3] = [
    Offload {
        name: "rx-vlan-hw-parse",
        meaning: "takes VLAN tags out of frames",
        switch: "rxvlan",
    },
    Offload {
        name: "rx-lro",
        meaning: "joins packets (LRO)",
        switch: "lro",
    },
    Offload {
        name: "rx-gro-hw",
        meaning: "joins packets (hardware GRO)",
        switch: "rx-gro-hw",
    },
];

impl Device {
    /// Whether XDP programs can send frames out of it: a bridge, for example, loses them.
    pub(crate) fn takes_frames(&self) -> bool {
        self.features & NDO_XMIT != 0
    }

    /// Why the XDP program is not for an interface of this name, if it is not.
    pub(crate) fn obstacle(&self, name: &str) -> Option<String> {
        const NEEDED: u64 = BASIC | REDIRECT;
        if self.features & NEEDED != NEEDED {
            return Some("its driver has no native XDP that can redirect".into());
        }
        let mut offloads = OFFLOADS.iter();
        let found = offloads.find(|offload| self.offloads.contains(offload.name))?;
        let Offload {
            meaning, switch, ..
        } = found;
        Some(format!("it {meaning}: ethtool -K {name} {switch} off"))
    }
}

/// `NETDEV_CMD_DEV_GET` of linux/netdev.h, and its attributes.
const DEV_GET: u8 = 1;
const DEV_IFINDEX: u16 = 1;
const DEV_XDP_FEATURES: u16 = 3;

/// Every device of this network namespace that the kernel describes, by index (Linux 6.3).
pub(crate) fn devices() -> io::Result<BTreeMap<u32, Device>> {
    let command = Command {
        number: DEV_GET,
        attributes: Vec::new(),
    };
    let answers = Family::open("netdev")?.ask_all(command)?;
    let mut devices: BTreeMap<u32, Device> = answers.iter().filter_map(described).collect();
    let offloads = Family::open("ethtool")?;
    for (index, device) in &mut devices {
        if device.features & BASIC != 0 {
            device.offloads = switched_on(&offloads, *index)?;
        }
    }
    Ok(devices)
}

fn described(answer: &Command) -> Option<(u32, Device)> {
    let index = value(&answer.attributes, DEV_IFINDEX)?.try_into().ok()?;
    let features = value(&answer.attributes, DEV_XDP_FEATURES)?
        .try_into()
        .ok()?;
    let device = Device {
        features: u64::from_ne_bytes(features),
        ..Device::default()
    };
    Some((u32::from_ne_bytes(index), device))
}

/// `ETHTOOL_MSG_FEATURES_GET` of linux/ethtool_netlink.h, and its attributes.
const FEATURES_GET: u8 = 11;
const FEATURES_HEADER: u16 = 1;
const HEADER_DEV_INDEX: u16 = 1;
const FEATURES_ACTIVE: u16 = 4;
const BITSET_BITS: u16 = 3;
const BIT_NAME: u16 = 2;

fn switched_on(ethtool: &Family, index: u32) -> io::Result<BTreeSet<&'static str>> {
    let header = [attribute(HEADER_DEV_INDEX, &index.to_ne_bytes())];
    let command = Command {
        number: FEATURES_GET,
        attributes: vec![nested(FEATURES_HEADER, &header)],
    };
    let mut names = BTreeSet::new();
    for answer in ethtool.ask(command)? {
        for name in active(&answer).unwrap_or_default() {
            let known = OFFLOADS.iter().map(|offload| offload.name);
            names.extend(known.filter(|known| *known == name));
        }
    }
    Ok(names)
}

/// The names of the features that are on: the kernel lists those alone.
fn active(answer: &Command) -> Option<Vec<String>> {
    let set = attributes(&value(&answer.attributes, FEATURES_ACTIVE)?).ok()?;
    let bits = attributes(&value(&set, BITSET_BITS)?).ok()?;
    let name = |octets: Vec<u8>| {
        let bit = attributes(&octets).ok()?;
        let text = String::from_utf8(value(&bit, BIT_NAME)?).ok()?;
        Some(text.trim_end_matches('\0').to_owned())
    };
    let each = bits.iter().filter_map(|bit| {
        use rtnetlink::packet_core::Nla as _;
        let mut octets = vec![0; bit.value_len()];
        bit.emit_value(&mut octets);
        name(octets)
    });
    Some(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described_and_has_no_xdp_that_redirects() {
        let devices = devices().unwrap();
        let loopback = &devices[&1];
        assert!(!loopback.takes_frames());
        assert!(loopback.obstacle("lo").unwrap().contains("no native XDP"));
    }

    #[test]
    fn an_offload_that_hides_something_is_named_with_its_switch() {
        let device = |offload| Device {
            features: BASIC | REDIRECT | NDO_XMIT,
            offloads: [offload].into(),
        };
        for offload in &OFFLOADS {
            let text = device(offload.name).obstacle("wan0").unwrap();
            let fix = format!("ethtool -K wan0 {} off", offload.switch);
            assert!(text.ends_with(&fix), "{text}");
        }
        assert_eq!(device("rx-checksum").obstacle("wan0"), None);
    }
}
