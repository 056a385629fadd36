//! Who is told of which flows: the other nodes of the shares that this node has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Controller, handle::Handle};
use crate::{
    config::SyncConfig,
    copies::{self, CopyPlan, CopySettings, CopyState},
    model::Share,
    registry::Registry,
};

/// How long the flows of a share are told on by the node that has lost it: what has begun there last.
const LINGER: Duration = Duration::from_secs(10);

/// What is told to whom of flows, and how that goes.
#[derive(Debug, Default)]
pub(super) struct Copying {
    plan: watch::Sender<CopyPlan>,
    pub(super) state: CopyState,
    /// Where the other nodes listen, as it was known last.
    peers: BTreeMap<String, SocketAddr>,
    /// When this node had each share last.
    had: BTreeMap<String, Instant>,
}

/// Copies flows for ever, if that is configured.
pub(crate) async fn run<R: Registry>(handle: Handle<R>) {
    let (settings, plan, state) = {
        let controller = handle.lock().await;
        let config = &controller.running.config;
        let Some(sync) = config.pool.sync.clone() else {
            return;
        };
        let SyncConfig {
            listen,
            certificate,
            key,
            authority,
            interval,
        } = sync;
        let settings = CopySettings {
            node: config.node.clone(),
            cluster: config.registry.cluster.clone(),
            listen,
            certificate,
            key,
            authority,
            interval,
        };
        let copying = &controller.copying;
        (settings, copying.plan.subscribe(), copying.state.clone())
    };
    copies::run(settings, plan, state).await;
}

impl<R: Registry> Controller<R> {
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
        for (id, claim) in &self.said_of_shares {
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
