//! Pools: their records, and what this node is in their shares.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use tokio::time::timeout;

use super::{Controller, addresses::host_addresses};
use crate::{
    api::{CopyItem, PoolItem, ShareItem, ShareReady},
    model::{
        EventKind, OwnShare, Pool, Refusal, RefusalKind, Service, SettingValue, SettingValues,
        Share, Subject,
    },
    registry::{Claim, Registry},
};

/// A registry that takes longer says nothing of who has a share.
const SOON: Duration = Duration::from_millis(300);

impl<R: Registry> Controller<R> {
    /// Whether this node forwards it.
    pub(super) fn serves(&self, service: &Service) -> bool {
        !R::IS_SHARED || service.is_of(&self.running.config.node, &self.pools)
    }

    /// Whether this node does for it what has to be done once: probes, ends what is over, puts back.
    pub(super) fn keeps(&self, service: &Service) -> bool {
        let is_pooled = R::IS_SHARED && self.pools.get(&service.pool).is_some();
        self.serves(service) && (!is_pooled || self.registry.keeps(&service.pool))
    }

    /// The shares that this node may have, if the kernel was not told of them yet.
    pub(super) fn untold_shares(&self) -> Option<Vec<OwnShare>> {
        let own = self.pools.of_node(&self.running.config.node);
        (self.shares.told.as_ref().unwrap_or(&Vec::new()) != &own).then_some(own)
    }

    /// The pool of a new port: the one that is named, or this node's.
    pub(super) fn pool_for(&self, named: Option<&str>) -> Result<String, Refusal> {
        let name = named.unwrap_or(&self.running.config.pool.name);
        match name {
            "" | "none" => Ok(String::new()),
            name => self.pool_named(name).map(|pool| pool.name.clone()),
        }
    }

    /// Takes `pool` out of what is set; `None`: it is not there.
    pub(super) fn take_pool(&self, values: &mut SettingValues) -> Result<Option<String>, Refusal> {
        match values.remove("pool") {
            None => Ok(None),
            Some(SettingValue::Nothing(())) => Ok(Some(String::new())),
            Some(SettingValue::Text(name)) => self.pool_for(Some(&name)).map(Some),
            Some(_) => Err(Refusal::invalid("pool", "pool: a name is expected")),
        }
    }

    pub(super) fn pool_named(&self, name: &str) -> Result<&Pool, Refusal> {
        self.pools.get(name).ok_or_else(|| no_pool(name))
    }

    pub(super) async fn pool_items(&self) -> Result<Vec<PoolItem>, Refusal> {
        let mut items = Vec::new();
        for pool in &self.pools.0 {
            items.push(self.pool_item(pool).await?);
        }
        Ok(items)
    }

    pub(super) async fn pool_item_named(&self, name: &str) -> Result<PoolItem, Refusal> {
        let pool = self.pool_named(name)?.clone();
        self.pool_item(&pool).await
    }

    pub(super) async fn pool_item(&self, pool: &Pool) -> Result<PoolItem, Refusal> {
        let mut shares = Vec::new();
        for share in &pool.shares {
            shares.push(self.share_item(share).await?);
        }
        let in_pool = |name: &str| name == pool.name;
        let has_problem = shares.iter().any(|share| share.problem.is_some());
        Ok(PoolItem {
            name: pool.name.clone(),
            hostname: pool.hostname.clone(),
            state: if has_problem { "degraded" } else { "ok" }.to_owned(),
            ports: self
                .services()
                .filter(|service| in_pool(&service.pool))
                .count(),
            nodes: pool.members().into_iter().map(str::to_owned).collect(),
            kept_here: self.is_member(pool) && self.registry.keeps(&pool.name),
            created_at: pool.created_at,
            shares,
        })
    }

    fn is_member(&self, pool: &Pool) -> bool {
        pool.has_member(&self.running.config.node)
    }

    async fn share_item(&self, share: &Share) -> Result<ShareItem, Refusal> {
        let (node, own) = (&self.running.config.node, self.own_claim(share));
        let claims = self.claims_of(share).await;
        let said = |is: fn(&Claim) -> bool| -> Vec<String> {
            let each = share.nodes.iter().zip(&claims);
            let those = each.filter(|(_, claim)| claim.as_ref().is_some_and(is));
            those.map(|(node, _)| node.clone()).collect()
        };
        let (holders, ready) = (said(|claim| claim.is_held), said(|claim| claim.is_ready));
        let is_member = share.has_member(node);
        let of_copies = || {
            self.problem_of_copies(share, own.is_held)
                .filter(|_| is_member)
        };
        let problem = problem_of(share, &claims).or_else(of_copies);
        Ok(ShareItem {
            id: share.id.clone(),
            public: share.public.clone(),
            translation: share.translation.clone(),
            nodes: share.nodes.clone(),
            holders,
            ready,
            moved_to: share.moved_to.clone(),
            copies: self.copies_of(share),
            here: share.has_member(node) && own.is_held,
            problem,
        })
    }

    /// What each other node of a share is told, and has told; nothing where flows are not copied.
    fn copies_of(&self, share: &Share) -> Vec<CopyItem> {
        let node = &self.running.config.node;
        if self.running.config.pool.sync.is_none() || !share.has_member(node) {
            return Vec::new();
        }
        let state = &self.copying.state;
        let item = |other: &String| {
            let sent = state.sent(other).unwrap_or_default();
            let received = state.received(other);
            CopyItem {
                node: other.clone(),
                full: sent.is_full,
                sent: sent.flows,
                lag_ms: u64::try_from(sent.lag.as_millis()).unwrap_or(u64::MAX),
                received: received.as_ref().map_or(0, |received| received.flows),
                refused: received.as_ref().map_or(0, |received| received.refused),
                heard_ms_ago: received.map(|received| {
                    u64::try_from(received.at.elapsed().as_millis()).unwrap_or(u64::MAX)
                }),
                problem: sent.problem,
            }
        };
        let others = share.nodes.iter().filter(|other| *other != node);
        others.map(item).collect()
    }

    /// What each node of a share says of it; `None`: nothing, lately.
    pub(super) async fn claims_of(&self, share: &Share) -> Vec<Option<Claim>> {
        let pairs = share
            .nodes
            .iter()
            .map(|node| (share.id.clone(), node.clone()));
        let pairs: Vec<(String, String)> = pairs.collect();
        let none = || vec![None; pairs.len()];
        let mut said = match self.registry.condition().away {
            Some(_) => none(),
            None => match timeout(SOON, self.registry.claims(&pairs)).await {
                Ok(Ok(said)) => said,
                _ => none(),
            },
        };
        // Of itself a node knows more than it has said.
        for (node, claim) in share.nodes.iter().zip(&mut said) {
            if *node == self.running.config.node {
                *claim = Some(self.own_claim(share));
            }
        }
        said
    }

    /// What this node is in a share.
    fn own_claim(&self, share: &Share) -> Claim {
        let local: BTreeSet<IpAddr> = host_addresses().into_iter().map(|(_, ip)| ip).collect();
        let here = share.addresses().filter(|address| local.contains(address));
        let here = here.count();
        Claim {
            is_held: share.own().is_here(&local),
            is_partial: here > 0 && here < share.addresses().count(),
            is_ready: self.could_take(),
        }
    }

    /// Whether this node forwards what it is to.
    fn could_take(&self) -> bool {
        let condition = self.registry.condition();
        let takes_changes = condition.failed.is_none() && condition.emptied.is_none();
        self.engines.is_ready() && self.not_applied.is_none() && takes_changes
    }

    /// Whether this node may have a share now, for what moves its addresses.
    pub(super) async fn share_ready(&self, id: &str) -> Result<ShareReady, Refusal> {
        let (_, share) = self.pools.share(id).ok_or_else(|| no_share(id))?;
        let reason = self.why_not_ready(share).await;
        Ok(ShareReady {
            id: id.to_owned(),
            ready: reason.is_none(),
            reason,
        })
    }

    /// Why this node may not have a share now.
    async fn why_not_ready(&self, share: &Share) -> Option<String> {
        let node = &self.running.config.node;
        if !share.has_member(node) {
            return Some(format!("node {node} is none of share {}", share.id));
        }
        if !self.could_take() {
            return Some("this node does not forward what it should: harbor-ctl status".into());
        }
        let claims = self.claims_of(share).await;
        if let Some(holder) = self.lacks_copies_of(share, &claims)
            && !self.own_claim(share).is_held
        {
            return Some(format!("it does not have all flows of node {holder} yet"));
        }
        let is_ready = |other: &String| {
            let mut each = share.nodes.iter().zip(&claims);
            each.any(|(node, claim)| node == other && claim.is_some_and(|claim| claim.is_ready))
        };
        let to = &share.moved_to;
        if !to.is_empty() && to != node && is_ready(to) {
            return Some(format!("it is to be on node {to}"));
        }
        let nodes = self.told.nodes.as_deref().unwrap_or_default();
        let is_drained = |id: &String| nodes.iter().any(|node| node.id == *id && node.drained);
        let mut others = share.nodes.iter().filter(|other| *other != node);
        match others.find(|other| is_ready(other) && !is_drained(other)) {
            Some(other) if is_drained(node) => {
                Some(format!("this node is drained, and node {other} is ready"))
            }
            _ => None,
        }
    }

    /// Sees how the pools are, for whoever asks how the node is.
    pub(super) async fn look_at_pools(&mut self) {
        if let Ok(items) = self.pool_items().await {
            self.shares.seen = items;
        }
        let node = &self.running.config.node;
        let own = self.pools.shares().filter(|share| share.has_member(node));
        let mut all = BTreeMap::new();
        for share in own {
            all.insert(share.id.clone(), self.why_not_ready(share).await);
        }
        self.shares.readiness.set(all);
    }

    /// Says of each share that this node may have what it is in it, and tells when that has changed.
    pub(super) fn keep_shares(&mut self) {
        let node = &self.running.config.node;
        let own = self.pools.shares().filter(|share| share.has_member(node));
        let said = own.map(|share| (share.id.clone(), self.own_claim(share)));
        let said: Vec<(String, Claim)> = said.collect();
        let held = |said: &[(String, Claim)]| -> BTreeSet<String> {
            let held = said.iter().filter(|(_, claim)| claim.is_held);
            held.map(|(id, _)| id.clone()).collect()
        };
        let (before, after) = (held(&self.shares.said), held(&said));
        for (kind, ids, what) in [
            (
                EventKind::ShareArrived,
                after.difference(&before),
                "has come to",
            ),
            (EventKind::ShareLeft, before.difference(&after), "has left"),
        ] {
            for id in ids {
                let subject = Subject {
                    node: Some(node.clone()),
                    ..Subject::default()
                };
                self.tell(kind, subject, format!("share {id} {what} node {node}"));
            }
        }
        self.shares.arrivals += after.difference(&before).count() as u64;
        self.registry.say_of_shares(said.clone());
        self.shares.said = said;
        self.keep_copying();
    }
}

/// What is wrong with a share, by what its nodes say.
fn problem_of(share: &Share, claims: &[Option<Claim>]) -> Option<String> {
    let named = |is: fn(&Claim) -> bool| -> Vec<&str> {
        let each = share.nodes.iter().zip(claims);
        let those = each.filter(|(_, claim)| claim.as_ref().is_some_and(is));
        those.map(|(node, _)| node.as_str()).collect()
    };
    let partial = named(|claim| claim.is_partial);
    if !partial.is_empty() {
        return Some(format!(
            "only some of its addresses are on {}",
            partial.join(", ")
        ));
    }
    let holders = named(|claim| claim.is_held);
    match holders.as_slice() {
        [] => return Some("no node has its addresses".into()),
        [_] => {}
        several => return Some(format!("several nodes have it: {}", several.join(", "))),
    }
    let standby = share.nodes.iter().zip(claims);
    let mut standby = standby.filter(|(node, _)| !holders.contains(&node.as_str()));
    let is_ready = |claim: &Option<Claim>| claim.is_some_and(|claim| claim.is_ready);
    match share.nodes.len() > 1 && !standby.any(|(_, claim)| is_ready(claim)) {
        true => Some("no other node is ready to take it over".into()),
        false => None,
    }
}

pub(super) fn no_pool(name: &str) -> Refusal {
    let shown: String = name.chars().take(64).collect();
    let refusal = Refusal::new(RefusalKind::NotFound, format!("no pool {shown:?}"));
    refusal.field("pool").fix("harbor-ctl pool list")
}

pub(super) fn no_share(id: &str) -> Refusal {
    let shown: String = id.chars().take(64).collect();
    let refusal = Refusal::new(RefusalKind::NotFound, format!("no share {shown:?}"));
    refusal.field("id").fix("harbor-ctl pool list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_well_where_one_node_has_it_whole_and_another_could() {
        let share = Share {
            id: "a".into(),
            number: 1,
            public: Vec::new(),
            translation: Vec::new(),
            nodes: vec!["n1".into(), "n2".into()],
            moved_to: String::new(),
        };
        let claim = |flags: &str| {
            (!flags.is_empty()).then(|| Claim {
                is_held: flags.contains('h'),
                is_partial: flags.contains('p'),
                is_ready: flags.contains('r'),
            })
        };
        let problem = |one: &str, other: &str| problem_of(&share, &[claim(one), claim(other)]);
        assert_eq!(problem("hr", "r"), None);
        for (one, other, said) in [
            ("hr", "hr", "several nodes have it: n1, n2"),
            ("r", "r", "no node has its addresses"),
            ("hpr", "r", "only some of its addresses are on n1"),
            ("hr", "", "no other node is ready"),
            ("hr", "-", "no other node is ready"),
        ] {
            let found = problem(one, other).unwrap();
            assert!(found.contains(said), "{one} {other}: {found}");
        }
    }
}
