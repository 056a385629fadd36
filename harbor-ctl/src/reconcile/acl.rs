//! Translates a port's lists of networks into table rows. Pure.

use std::{collections::BTreeMap, net::IpAddr};

use harbor_common::{addr::Ip, frontend::AclNetwork};
use ipnet::IpNet;

use crate::model::PortSettings;

/// Networks with what they say, by the bits of their prefix (an IPv4 prefix has 96 more).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Acl {
    pub(crate) networks: BTreeMap<(u32, Ip), u32>,
}

impl Acl {
    /// The list of these settings, and what it says of an address that it does not name.
    pub(crate) fn of(settings: &PortSettings) -> (Self, u32) {
        let mut acl = Self::default();
        let lists = [
            (&settings.allowed_cidrs, AclNetwork::ALLOW),
            // A network on both lists is denied.
            (&settings.denied_cidrs, AclNetwork::DENY),
        ];
        for (list, says) in lists {
            for network in list {
                acl.networks.insert(prefix(network), says);
            }
        }
        let default = u32::from(!settings.allowed_cidrs.is_empty());
        acl.keep_ipv4_apart(default);
        (acl, default)
    }

    /// IPv4 addresses are a part of the trie's IPv6 addresses: a wide IPv6 network must not speak
    /// for them.
    fn keep_ipv4_apart(&mut self, default: u32) {
        let (bits, all_v4) = (96, Ip::from(IpAddr::from([0, 0, 0, 0])));
        let is_covered = |(network_bits, network): &(u32, Ip)| {
            *network_bits < bits && is_within(&all_v4, *network_bits, network)
        };
        if self.networks.keys().any(is_covered) {
            let says = [AclNetwork::ALLOW, AclNetwork::DENY][default as usize & 1];
            self.networks.entry((bits, all_v4)).or_insert(says);
        }
    }

    /// Whether a client may open flows; what the datapath's trie answers.
    pub(crate) fn allows(&self, client: IpAddr, default: u32) -> bool {
        let client = Ip::from(client);
        let widest_first = self.networks.iter();
        let found = widest_first
            .rev()
            .find(|((bits, network), _)| is_within(&client, *bits, network));
        match found {
            Some((_, says)) => *says == AclNetwork::ALLOW,
            None => default == 0,
        }
    }
}

fn is_within(address: &Ip, bits: u32, network: &Ip) -> bool {
    let prefix = |ip: &Ip| {
        let address = u128::from_be_bytes(ip.octets);
        address.checked_shr(128 - bits).unwrap_or(0)
    };
    prefix(address) == prefix(network)
}

/// The prefix of a network as tables of both families hold it: its bits and its address.
pub(crate) fn prefix(network: &IpNet) -> (u32, Ip) {
    let bits = u32::from(network.prefix_len());
    let bits = match network {
        IpNet::V4(_) => bits + 96,
        IpNet::V6(_) => bits,
    };
    (bits, network.network().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acl(allowed: &[&str], denied: &[&str]) -> (Acl, u32) {
        let read = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect();
        Acl::of(&PortSettings {
            allowed_cidrs: read(allowed),
            denied_cidrs: read(denied),
            ..PortSettings::default()
        })
    }

    fn allows(acl: &(Acl, u32), client: &str) -> bool {
        acl.0.allows(client.parse().unwrap(), acl.1)
    }

    #[test]
    fn the_narrower_network_wins_and_denial_on_a_tie() {
        let list = acl(
            &["10.0.0.0/8", "10.1.2.0/24", "2001:db8::/32"],
            &["10.1.0.0/16", "2001:db8:1::/48", "10.1.2.0/24"],
        );
        assert!(allows(&list, "10.9.0.1"));
        assert!(!allows(&list, "10.1.9.1"));
        assert!(!allows(&list, "10.1.2.1"));
        assert!(!allows(&list, "192.0.2.1"));
        assert!(allows(&list, "2001:db8::1"));
        assert!(!allows(&list, "2001:db8:1::1"));
    }

    #[test]
    fn who_is_not_named_is_allowed_unless_somebody_is_named_as_allowed() {
        assert!(allows(&acl(&[], &[]), "192.0.2.1"));
        let denied = acl(&[], &["0.0.0.0/0"]);
        assert!(!allows(&denied, "192.0.2.1"));
        assert!(allows(&denied, "2001:db8::1"));
        assert!(!allows(&acl(&["0.0.0.0/0"], &[]), "2001:db8::1"));
        assert!(allows(&acl(&["::/0"], &[]), "2001:db8::1"));
        assert!(!allows(&acl(&["::/0"], &[]), "192.0.2.1"));
        assert!(allows(&acl(&[], &["::/0"]), "192.0.2.1"));
        assert!(!allows(&acl(&[], &["::/0"]), "2001:db8::1"));
    }
}
