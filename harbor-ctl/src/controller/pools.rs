//! Pools: their records, and what this node is in their shares.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use tokio::time::timeout;

use super::{Controller, addresses::host_addresses, share_claims::Claims};
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

    /// The shares that this node may have, and how long they are held, if the kernel was not told of that yet.
    pub(super) fn untold_shares(&self) -> Option<(Vec<OwnShare>, Duration)> {
        let own = self.pools.of_node(&self.running.config.node);
        let wanted = (own, self.running.config.pool.hold);
        let is_none = self.shares.told.is_none() && wanted.0.is_empty();
        (!is_none && self.shares.told.as_ref() != Some(&wanted)).then_some(wanted)
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

    pub(super) async fn pool_items(&self) -> Vec<PoolItem> {
        self.seen(&self.pools.0).await
    }

    pub(super) async fn pool_item_named(&self, name: &str) -> Result<PoolItem, Refusal> {
        let pool = self.pool_named(name)?;
        let claims = self.claims_of(&pool.shares).await;
        Ok(self.pool_item(pool, &claims))
    }

    /// Pools as they are now.
    async fn seen(&self, pools: impl IntoIterator<Item = &Pool> + Clone) -> Vec<PoolItem> {
        let shares = pools.clone().into_iter().flat_map(|pool| &pool.shares);
        let claims = self.claims_of(shares).await;
        let pools = pools.into_iter();
        pools.map(|pool| self.pool_item(pool, &claims)).collect()
    }

    fn pool_item(&self, pool: &Pool, claims: &Claims) -> PoolItem {
        let shares = pool.shares.iter();
        let shares: Vec<ShareItem> = shares.map(|one| self.share_item(one, claims)).collect();
        let is_of_it = |service: &&Service| service.pool == pool.name;
        let has_problem = shares.iter().any(|share| share.problem.is_some());
        PoolItem {
            name: pool.name.clone(),
            hostname: pool.hostname.clone(),
            state: if has_problem { "degraded" } else { "ok" }.to_owned(),
            ports: self.services().filter(is_of_it).count(),
            nodes: pool.members().into_iter().map(str::to_owned).collect(),
            kept_here: self.is_member(pool) && self.registry.keeps(&pool.name),
            created_at: pool.created_at,
            shares,
        }
    }

    fn is_member(&self, pool: &Pool) -> bool {
        pool.has_member(&self.running.config.node)
    }

    fn share_item(&self, share: &Share, claims: &Claims) -> ShareItem {
        let own = claims.of(share, &self.running.config.node);
        let here = own.is_some_and(|claim| claim.is_held);
        let of_copies = || {
            self.problem_of_copies(share, here)
                .filter(|_| own.is_some())
        };
        let problem = claims.problem_of(share).or_else(of_copies);
        ShareItem {
            id: share.id.clone(),
            public: share.public.clone(),
            translation: share.translation.clone(),
            nodes: share.nodes.clone(),
            holders: claims.those(share, |claim| claim.is_held),
            ready: claims.those(share, |claim| claim.is_ready),
            moved_to: share.moved_to.clone(),
            copies: self.copies_of(share),
            here,
            problem,
        }
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

    /// What the nodes of shares say of them.
    pub(super) async fn claims_of(&self, shares: impl IntoIterator<Item = &Share>) -> Claims {
        let node = &self.running.config.node;
        let (mut pairs, mut own) = (Vec::new(), Vec::new());
        let local = local_addresses();
        for share in shares {
            let pair = |node: &String| (share.id.clone(), node.clone());
            pairs.extend(share.nodes.iter().map(pair));
            // Of itself a node knows more than it has said.
            if share.has_member(node) {
                own.push((pair(node), self.own_claim(share, &local)));
            }
        }
        let said = match self.registry.condition().away {
            _ if pairs.is_empty() => Some(Vec::new()),
            Some(_) => None,
            None => {
                let asked = timeout(SOON, self.registry.claims(&pairs)).await;
                asked.ok().and_then(Result::ok)
            }
        };
        let is_known = said.is_some();
        let said = pairs.into_iter().zip(said.into_iter().flatten());
        let said = said.filter_map(|(pair, claim)| Some((pair, claim?)));
        Claims {
            said: said.chain(own).collect(),
            is_known,
        }
    }

    /// What this node is in a share.
    fn own_claim(&self, share: &Share, local: &BTreeSet<IpAddr>) -> Claim {
        let here = share.addresses().filter(|address| local.contains(address));
        let here = here.count();
        let is_held = share.own().is_here(local);
        Claim {
            is_held,
            is_partial: here > 0 && here < share.addresses().count(),
            is_ready: self.could_take() && (is_held || !self.shares.lacking.contains(&share.id)),
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
        let claims = self.claims_of([share]).await;
        let reason = self.why_not_ready(share, &claims);
        Ok(ShareReady {
            id: id.to_owned(),
            ready: reason.is_none(),
            reason,
        })
    }

    /// Why this node may not have a share now.
    fn why_not_ready(&self, share: &Share, claims: &Claims) -> Option<String> {
        let node = &self.running.config.node;
        let Some(own) = claims.of(share, node) else {
            return Some(format!("node {node} is none of share {}", share.id));
        };
        if !self.could_take() {
            return Some("this node does not forward what it should: harbor-ctl status".into());
        }
        if let Some(holder) = self.lacks_copies_of(share, claims)
            && !own.is_held
        {
            return Some(format!("it does not have all flows of node {holder} yet"));
        }
        let ready = claims.those(share, |claim| claim.is_ready);
        let to = &share.moved_to;
        if to != node && ready.contains(to) {
            return Some(format!("it is to be on node {to}"));
        }
        let nodes = self.told.nodes.as_deref().unwrap_or_default();
        let is_drained = |id: &String| nodes.iter().any(|node| node.id == *id && node.drained);
        let mut others = ready.iter().filter(|other| *other != node);
        match others.find(|other| !is_drained(other)) {
            Some(other) if is_drained(node) => {
                Some(format!("this node is drained, and node {other} is ready"))
            }
            _ => None,
        }
    }

    /// Sees how the pools of this node are, for whoever asks how the node is.
    pub(super) async fn look_at_pools(&mut self) {
        let own = self.pools.0.iter().filter(|pool| self.is_member(pool));
        let own: Vec<&Pool> = own.collect();
        let claims = self
            .claims_of(own.iter().flat_map(|pool| &pool.shares))
            .await;
        let node = &self.running.config.node;
        let shares = own.iter().flat_map(|pool| &pool.shares);
        let shares = shares.filter(|share| share.has_member(node));
        let ready = shares
            .clone()
            .map(|share| (share.id.clone(), self.why_not_ready(share, &claims)));
        self.shares.readiness.set(ready.collect());
        let lacking = shares.filter(|share| self.lacks_copies_of(share, &claims).is_some());
        let lacking = lacking.map(|share| share.id.clone()).collect();
        let pools = own.iter();
        let seen = pools.map(|pool| self.pool_item(pool, &claims)).collect();
        (self.shares.lacking, self.shares.seen) = (lacking, seen);
    }

    /// Says of each share that this node may have what it is in it, and tells when that has changed.
    pub(super) fn keep_shares(&mut self) {
        let node = &self.running.config.node;
        let local = local_addresses();
        let own = self.pools.shares().filter(|share| share.has_member(node));
        let said = own.map(|share| (share.id.clone(), self.own_claim(share, &local)));
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

fn local_addresses() -> BTreeSet<IpAddr> {
    host_addresses().into_iter().map(|(_, ip)| ip).collect()
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
