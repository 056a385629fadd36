//! Who is told of which flows: the other nodes of the shares that this node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Controller, share_state::Copying};
use crate::{
    config::SyncConfig,
    copies::{CopyPlan, CopySettings, CopyState},
    model::Share,
    registry::{Claim, Registry},
};

/// How long the flows of a share are told on by the node that has lost it: what has begun there last.
const LINGER: Duration = Duration::from_secs(10);

impl<R: Registry> Controller<R> {
    /// What copies flows: who speaks, what is told to whom, and how it goes. `None`: that is not configured.
    pub(super) fn copying(&self) -> Option<(CopySettings, watch::Receiver<CopyPlan>, CopyState)> {
        let config = &self.running.config;
        let SyncConfig {
            listen,
            certificate,
            key,
            authority,
            interval,
        } = config.pool.sync.clone()?;
        let settings = CopySettings {
            node: config.node.clone(),
            cluster: config.registry.cluster.clone(),
            listen,
            certificate,
            key,
            authority,
            interval,
        };
        let Copying { plan, state, .. } = &self.copying;
        Some((settings, plan.subscribe(), state.clone()))
    }

    /// Says anew who is told of which flows.
    pub(super) fn keep_copying(&mut self) {
        if self.running.config.pool.sync.is_none() {
            return;
        }
        let node = self.running.config.node.clone();
        // A registry that is away takes no peer from anybody.
        for record in self.told.nodes.iter().flatten() {
            if let Some(address) = record.sync {
                self.copying.peers.insert(record.id.clone(), address);
            }
        }
        let now = Instant::now();
        for (id, claim) in &self.shares.said {
            if claim.is_held {
                self.copying.had.insert(id.clone(), now);
            }
        }
        let had = &mut self.copying.had;
        had.retain(|_, last| now.duration_since(*last) < LINGER);
        let mut plan = CopyPlan {
            engines: Some(self.engines.clone()),
            ..CopyPlan::default()
        };
        for share in self.pools.shares().filter(|share| share.has_member(&node)) {
            let others = share.nodes.iter().filter(|other| **other != node);
            for other in others.clone() {
                if let Some(address) = self.copying.peers.get(other) {
                    plan.peers.insert(other.clone(), *address);
                }
            }
            if self.copying.had.contains_key(&share.id) {
                let told: BTreeSet<String> = others.cloned().collect();
                let each = share.public.iter().map(|address| (*address, told.clone()));
                plan.told.extend(each.collect::<BTreeMap<IpAddr, _>>());
            }
        }
        self.copying.plan.send_replace(plan);
    }

    /// Who has a share of which this node does not have all flows yet, by what its nodes have said.
    pub(super) fn lacks_copies_of(
        &self,
        share: &Share,
        claims: &[Option<Claim>],
    ) -> Option<String> {
        self.running.config.pool.sync.as_ref()?;
        let node = &self.running.config.node;
        let has_it = |claim: &Option<Claim>| claim.is_some_and(|claim| claim.is_held);
        let mut holders = share.nodes.iter().zip(claims);
        let is_full = |holder: &str| {
            let received = self.copying.state.received(holder);
            received.is_some_and(|received| received.is_full)
        };
        let (holder, _) =
            holders.find(|(holder, claim)| *holder != node && has_it(claim) && !is_full(holder))?;
        Some(holder.clone())
    }

    /// What is wrong with the copies of a share that this node has, or could have.
    pub(super) fn problem_of_copies(&self, share: &Share, is_held: bool) -> Option<String> {
        self.running.config.pool.sync.as_ref()?;
        let state = &self.copying.state;
        if let Some(problem) = state.problem() {
            return Some(format!("this node hears of no flows: {problem}"));
        }
        let node = &self.running.config.node;
        let mut others = share.nodes.iter().filter(|other| *other != node);
        if !is_held {
            return None;
        }
        others.find_map(|other| match state.sent(other) {
            Some(sent) => {
                let problem = sent.problem?;
                Some(format!(
                    "node {other} has no copies of its flows: {problem}"
                ))
            }
            None => Some(format!(
                "node {other} has no copies of its flows: it has not said where it listens"
            )),
        })
    }
}
