//! Pools: nodes that have the same ports. A pool's traffic is cut into shares, each a set of public addresses
//! with translation addresses of its own, which one node holds at a time.

use std::{collections::BTreeSet, net::IpAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    name::check_name,
    refusal::{Refusal, RefusalKind},
};

/// The most translation addresses of one family, and the numbers of shares: the programs' own limits.
pub(crate) const TRANSLATION_LIMIT: usize = 8;
pub(crate) const SHARE_NUMBERS: u32 = 1_024;
/// The most shares of one pool, and nodes of one share.
const SHARE_LIMIT: usize = 64;
const NODE_LIMIT: usize = 64;
/// The most public addresses of a share.
const PUBLIC_LIMIT: usize = 16;

/// Nodes that have the same ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Pool {
    /// `[A-Za-z0-9_.-]{1,64}`
    pub(crate) name: String,
    /// What clients are told to connect to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// Counts the changes of this record.
    #[serde(default)]
    pub(crate) revision: u64,
    #[serde(default)]
    pub(crate) shares: Vec<Share>,
}

/// Addresses that move together, and the nodes that may have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Share {
    /// Unique among all pools.
    pub(crate) id: String,
    /// What the programs know it by: 1 to 1023.
    pub(crate) number: u32,
    /// Clients connect to them.
    #[schema(value_type = Vec<String>)]
    pub(crate) public: Vec<IpAddr>,
    /// Backends see them.
    #[schema(value_type = Vec<String>)]
    pub(crate) translation: Vec<IpAddr>,
    /// In the order in which they take it over.
    pub(crate) nodes: Vec<String>,
    /// Who is to have it now, whatever the order says; empty: the first that is ready.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) moved_to: String,
}

/// A share that this node may have, as the programs know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnShare {
    pub(crate) number: u32,
    pub(crate) public: Vec<IpAddr>,
    pub(crate) translation: Vec<IpAddr>,
}

impl OwnShare {
    /// Whether the host has it, by the addresses that it has.
    pub(crate) fn is_here(&self, local: &BTreeSet<IpAddr>) -> bool {
        self.public.iter().any(|address| local.contains(address))
    }
}

impl Share {
    pub(crate) fn has_member(&self, node: &str) -> bool {
        self.nodes.iter().any(|member| member == node)
    }

    /// Every address that moves.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.public.iter().chain(&self.translation).copied()
    }

    pub(crate) fn own(&self) -> OwnShare {
        OwnShare {
            number: self.number,
            public: self.public.clone(),
            translation: self.translation.clone(),
        }
    }
}

impl Pool {
    /// Whether a node has the pool's ports.
    pub(crate) fn has_member(&self, node: &str) -> bool {
        self.shares.iter().any(|share| share.has_member(node))
    }

    /// Every node that has the pool's ports, once.
    pub(crate) fn members(&self) -> BTreeSet<&str> {
        let nodes = self.shares.iter().flat_map(|share| &share.nodes);
        nodes.map(String::as_str).collect()
    }

    /// Checks everything that its type does not.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        check_name("pool", &self.name)?;
        if !self.hostname.is_empty() {
            check_name("hostname", &self.hostname)?;
        }
        if self.shares.len() > SHARE_LIMIT {
            let text = format!("{} shares: {SHARE_LIMIT} are the most", self.shares.len());
            return Err(Refusal::invalid("shares", text));
        }
        self.shares.iter().try_for_each(Share::check)
    }
}

impl Share {
    fn check(&self) -> Result<(), Refusal> {
        check_name("share", &self.id)?;
        if !(1..SHARE_NUMBERS).contains(&self.number) {
            let text = format!("number {} of share {}", self.number, self.id);
            return Err(Refusal::invalid("number", text));
        }
        self.check_addresses()?;
        if self.nodes.is_empty() || self.nodes.len() > NODE_LIMIT {
            let text = format!("share {} needs 1 to {NODE_LIMIT} nodes", self.id);
            return Err(Refusal::invalid("nodes", text).fix("--nodes NODE,NODE"));
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            check_name("nodes", node)?;
            if !seen.insert(node) {
                let text = format!("node {node} stands there twice");
                return Err(Refusal::invalid("nodes", text));
            }
        }
        if !self.moved_to.is_empty() && !self.has_member(&self.moved_to) {
            let text = format!("node {} is none of share {}", self.moved_to, self.id);
            return Err(Refusal::invalid("moved_to", text));
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), Refusal> {
        let refuse = |field: &'static str, text: String| Err(Refusal::invalid(field, text));
        let mut seen = BTreeSet::new();
        for (field, addresses) in [("public", &self.public), ("translation", &self.translation)] {
            for address in addresses {
                if address.is_unspecified() || address.is_loopback() || address.is_multicast() {
                    return refuse(field, format!("{address} cannot move between nodes"));
                }
                if !seen.insert(*address) {
                    return refuse(field, format!("{address} stands there twice"));
                }
            }
        }
        if self.public.is_empty() || self.public.len() > PUBLIC_LIMIT {
            let text = format!("a share needs 1 to {PUBLIC_LIMIT} public addresses");
            return refuse("public", text);
        }
        for (is_v4, family) in [(true, "IPv4"), (false, "IPv6")] {
            let count = |of: &[IpAddr]| of.iter().filter(|a| a.is_ipv4() == is_v4).count();
            let count = count(&self.translation);
            if count > TRANSLATION_LIMIT {
                let text =
                    format!("{TRANSLATION_LIMIT} translation addresses of {family} are the most");
                return refuse("translation", text);
            }
        }
        if self.translation.is_empty() {
            let text = "a share needs translation addresses of its own: flows move with them";
            return refuse("translation", text.into());
        }
        Ok(())
    }
}

/// Every pool that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pools(pub(crate) Vec<Pool>);

impl Pools {
    pub(crate) fn get(&self, name: &str) -> Option<&Pool> {
        self.0.iter().find(|pool| pool.name == name)
    }

    /// The pool that a share belongs to, and the share.
    pub(crate) fn share(&self, id: &str) -> Option<(&Pool, &Share)> {
        let mut shares = self
            .0
            .iter()
            .flat_map(|pool| pool.shares.iter().map(move |share| (pool, share)));
        shares.find(|(_, share)| share.id == id)
    }

    pub(crate) fn shares(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().flat_map(|pool| &pool.shares)
    }

    /// The shares that a node may have.
    pub(crate) fn of_node(&self, node: &str) -> Vec<OwnShare> {
        let own = self.shares().filter(|share| share.has_member(node));
        own.map(Share::own).collect()
    }

    /// Adds a share, under a number that no other one has.
    pub(crate) fn take_in(&mut self, share: &mut Share) -> Result<(), Refusal> {
        self.check_new(share)?;
        if self.shares().any(|other| other.number == share.number) {
            let full = || Refusal::new(RefusalKind::Conflict, "no more shares can be numbered");
            share.number = self.free_number().ok_or_else(full)?;
        }
        self.0.push(Pool {
            name: String::new(),
            hostname: String::new(),
            created_at: 0,
            revision: 0,
            shares: vec![share.clone()],
        });
        Ok(())
    }

    /// A number that no share has.
    fn free_number(&self) -> Option<u32> {
        let taken: BTreeSet<u32> = self.shares().map(|share| share.number).collect();
        (1..SHARE_NUMBERS).find(|number| !taken.contains(number))
    }

    /// Refuses a share whose id or addresses another one has.
    fn check_new(&self, new: &Share) -> Result<(), Refusal> {
        if let Some((pool, _)) = self.share(&new.id) {
            let text = format!("share {} exists, in pool {}", new.id, pool.name);
            return Err(Refusal::new(RefusalKind::NameTaken, text).field("id"));
        }
        for other in self.shares() {
            let theirs: BTreeSet<IpAddr> = other.addresses().collect();
            if let Some(address) = new.addresses().find(|address| theirs.contains(address)) {
                let text = format!("share {} has {address}", other.id);
                return Err(Refusal::new(RefusalKind::Conflict, text).field("public"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(id: &str, public: &[&str], translation: &[&str]) -> Share {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        Share {
            id: id.into(),
            number: 1,
            public: read(public),
            translation: read(translation),
            nodes: vec!["n1".into(), "n2".into()],
            moved_to: String::new(),
        }
    }

    fn pool(shares: Vec<Share>) -> Pool {
        Pool {
            name: "p".into(),
            hostname: String::new(),
            created_at: 1,
            revision: 0,
            shares,
        }
    }

    #[test]
    fn a_share_has_addresses_of_both_kinds_and_each_once() {
        let good = share("a", &["192.0.2.1", "2001:db8::1"], &["10.0.0.1"]);
        pool(vec![good.clone()]).check().unwrap();
        let bad = [
            share("a", &[], &["10.0.0.1"]),
            share("a", &["192.0.2.1"], &[]),
            share("a", &["192.0.2.1"], &["192.0.2.1"]),
            share("a", &["127.0.0.1"], &["10.0.0.1"]),
            share("a b", &["192.0.2.1"], &["10.0.0.1"]),
            Share {
                nodes: vec!["n1".into(), "n1".into()],
                ..good.clone()
            },
            Share {
                nodes: Vec::new(),
                ..good.clone()
            },
            Share {
                moved_to: "n3".into(),
                ..good.clone()
            },
            Share { number: 0, ..good },
        ];
        for share in bad {
            assert!(pool(vec![share.clone()]).check().is_err(), "{share:?}");
        }
    }

    #[test]
    fn nobody_gets_an_address_or_an_id_that_another_share_has() {
        let pools = Pools(vec![pool(vec![share("a", &["192.0.2.1"], &["10.0.0.1"])])]);
        pools
            .check_new(&share("b", &["192.0.2.2"], &["10.0.0.2"]))
            .unwrap();
        for other in [
            share("a", &["192.0.2.2"], &["10.0.0.2"]),
            share("b", &["192.0.2.1"], &["10.0.0.2"]),
            share("b", &["10.0.0.1"], &["10.0.0.2"]),
        ] {
            assert!(pools.check_new(&other).is_err(), "{other:?}");
        }
        let mut more = pools.clone();
        let mut second = share("b", &["192.0.2.2"], &["10.0.0.2"]);
        more.take_in(&mut second).unwrap();
        assert_eq!((second.number, more.free_number()), (2, Some(3)));
        assert_eq!(pools.of_node("n2").len(), 1);
        assert!(pools.of_node("n3").is_empty());
    }
}
