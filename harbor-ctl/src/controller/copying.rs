//! Who is told of which flows: the other nodes of the shares that this node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Controller, share_claims::Claims, share_state::Copying};
use crate::{
    config::SyncConfig,
    copies::{CopyPlan, CopySettings, CopyState},
    model::Share,
    registry::Registry,
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

    /// Who has a share of which this node does not have all flows yet, though it tells of them.
    pub(super) fn lacks_copies_of(&self, share: &Share, claims: &Claims) -> Option<String> {
        self.running.config.pool.sync.as_ref()?;
        let node = &self.running.config.node;
        let Copying { peers, state, .. } = &self.copying;
        // At the start it is not known yet who tells of flows.
        let tells = |other: &String| peers.contains_key(other) || self.told.nodes.is_none();
        let is_full = |other: &String| state.received(other).is_some_and(|one| one.is_full);
        let holders = claims.those(share, |claim| claim.is_held);
        let mut lacking = holders.into_iter().filter(|other| other != node);
        lacking.find(|other| tells(other) && !is_full(other))
    }

    /// What is wrong with the copies of a share that this node has, or could have.
    pub(super) fn problem_of_copies(&self, share: &Share, is_held: bool) -> Option<String> {
        self.running.config.pool.sync.as_ref()?;
        let state = &self.copying.state;
        if let Some(problem) = state.problem() {
            return Some(format!("this node hears of no flows: {problem}"));
        }
        if !is_held {
            return None;
        }
        let node = &self.running.config.node;
        let mut others = share.nodes.iter().filter(|other| *other != node);
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
