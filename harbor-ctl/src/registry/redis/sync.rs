//! Bringing a node into sync: everything is compared by its content, what the registry has lost is put
//! back, and what was deleted is deleted again. Then what the registry holds is taken over.

use std::collections::BTreeSet;

use super::{
    super::{RegistryError, journal::BROUGHT_ALONG},
    Engine, answers,
    state::Snapshot,
};
use crate::model::Service;
use crate::registry::watch::News;

/// How many services are put back by one script.
const PLACED_AT_ONCE: usize = 50;

/// How often a snapshot is put right, and how often one is taken that own changes have overtaken.
const RIGHTED_TRIES: usize = 5;
const TAKEN_TRIES: usize = 4;

impl Engine {
    /// Brings this node into sync: joins if it has not, puts its ports back into a registry that
    /// lost them, and takes everything over.
    pub(super) async fn synchronise(&self) -> Result<(), RegistryError> {
        let (is_fenced, own_changes) = {
            let memory = self.memory();
            (memory.is_fenced, memory.own_changes)
        };
        let mut snapshot = self.snapshot().await?;
        let (known, has_joined) = {
            let memory = self.memory();
            (memory.state.position.clone(), memory.has_joined)
        };
        if !is_fenced {
            let found = &snapshot.position;
            let is_new = found.incarnation != known.incarnation || found.seq < known.seq;
            if is_new || !has_joined {
                self.join().await?;
            }
            match known.incarnation.as_str() {
                "" => {}
                BROUGHT_ALONG => tracing::info!("this node's ports are taken along"),
                _ if is_new => tracing::error!(
                    "the registry has lost what it knew: this node's ports are put back"
                ),
                _ => {}
            }
            self.synchronise_pools(is_new).await?;
            let unplaced: Vec<String> = self.memory().state.unplaced.keys().cloned().collect();
            if is_new || !unplaced.is_empty() {
                self.put_back().await?;
            }
            snapshot = self.righted_snapshot().await?;
        }
        if is_fenced {
            self.synchronise_pools(false).await?;
        }
        let kept = self.kept_while_fenced(&snapshot).await?;
        let differ = self.take_all((snapshot, kept), own_changes).await?;
        self.keep(&differ).await;
        self.weigh_again().await;
        self.tell(News::Synchronised);
        Ok(())
    }

    /// A snapshot that lacks nothing of what was acknowledged here, and holds nothing that was deleted.
    /// The registry may go back in time while it is being put right.
    async fn righted_snapshot(&self) -> Result<Snapshot, RegistryError> {
        for _ in 0..RIGHTED_TRIES {
            let snapshot = self.snapshot().await?;
            if !self.put_right(&snapshot).await? {
                return Ok(snapshot);
            }
        }
        let text = "it goes back in time again and again";
        Err(RegistryError::Away(text.into()))
    }

    /// What was acknowledged here, nobody has deleted, and a snapshot does not have as it was.
    async fn lost(&self, snapshot: &Snapshot) -> Result<Vec<Service>, RegistryError> {
        let mut lost = self.memory().state.lost(&self.node, snapshot);
        if !lost.is_empty() {
            let ids: Vec<String> = lost.iter().map(|service| service.id.clone()).collect();
            let buried: Vec<String> = self.run(&self.scripts.buried, &ids, 1).await?;
            lost.retain(|service| !buried.contains(&service.id));
        }
        Ok(lost)
    }

    /// A node that is fenced puts nothing right, and believes nothing else for it: the registry may have come
    /// back from a time at which another agent had the node, and this one gets it again.
    async fn kept_while_fenced(
        &self,
        snapshot: &Snapshot,
    ) -> Result<BTreeSet<String>, RegistryError> {
        if !self.memory().is_fenced {
            return Ok(BTreeSet::new());
        }
        let lost = self.lost(snapshot).await?;
        let returned = self.memory().state.returned(&self.node, snapshot);
        let kept = lost.into_iter().chain(returned);
        Ok(kept.map(|service| service.id).collect())
    }

    /// Puts back what was acknowledged here and nobody has deleted, and takes out again what was
    /// deleted; whether anything was changed.
    async fn put_right(&self, snapshot: &Snapshot) -> Result<bool, RegistryError> {
        let lost = self.lost(snapshot).await?;
        let returned = self.memory().state.returned(&self.node, snapshot);
        let mut placed = lost.len();
        for part in lost.chunks(PLACED_AT_ONCE) {
            let unplaced = self.place("each", part).await?;
            placed -= unplaced.len();
            for (id, why) in unplaced {
                tracing::error!("service {id} was not put back, it stays on this node: {why}");
                self.memory().state.unplaced.insert(id, why);
            }
        }
        for service in &returned {
            let mut words = vec![service.id.clone(), "0".to_owned()];
            words.extend(answers::halves(service));
            self.run::<i64>(&self.scripts.release, &words, 1).await?;
        }
        let returned = returned.len();
        if placed > 0 || returned > 0 {
            tracing::error!(
                placed,
                returned,
                "the registry had gone back in time: put right"
            );
        }
        Ok(placed > 0 || returned > 0)
    }

    /// Takes a snapshot over, or a newer one if this node has changed something since; none, while it
    /// changes more than can be read: what is known here stays, and the next round reads again.
    async fn take_all(
        &self,
        (mut snapshot, mut kept): (Snapshot, BTreeSet<String>),
        mut own_changes: u64,
    ) -> Result<Vec<String>, RegistryError> {
        for _ in 0..TAKEN_TRIES {
            let is_fenced = {
                let mut memory = self.memory();
                if memory.has_left {
                    return Ok(Vec::new());
                }
                if memory.own_changes == own_changes {
                    return Ok(memory.state.take_all_but(&kept, &self.node, snapshot));
                }
                own_changes = memory.own_changes;
                memory.is_fenced
            };
            // It may be of another time than the one before.
            snapshot = match is_fenced {
                true => self.snapshot().await?,
                false => self.righted_snapshot().await?,
            };
            kept = self.kept_while_fenced(&snapshot).await?;
        }
        Ok(Vec::new())
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, RegistryError> {
        let answer = self.run(&self.scripts.snapshot, &[], 5).await?;
        Ok(self.with_rules(|rules| answers::snapshot(answer, rules)))
    }

    /// Places this node's own services where they were.
    async fn put_back(&self) -> Result<(), RegistryError> {
        let own = self.memory().state.own(&self.node);
        let mut unplaced = Vec::new();
        for part in own.chunks(PLACED_AT_ONCE) {
            unplaced.extend(self.place("each", part).await?);
        }
        for (id, why) in &unplaced {
            tracing::error!("service {id} was not put back, it stays on this node: {why}");
        }
        self.memory().state.unplaced = unplaced.into_iter().collect();
        Ok(())
    }

    /// Places services, all or each; answers those that could not be, and why.
    pub(super) async fn place(
        &self,
        how: &str,
        services: &[Service],
    ) -> Result<Vec<(String, String)>, RegistryError> {
        let mut words = vec![how.to_owned()];
        for service in services {
            let record = serde_json::to_string(service);
            let record = record.map_err(|error| RegistryError::Engine(error.into()))?;
            let halves = answers::halves(service);
            let (revision, count) = (service.revision.to_string(), halves.len().to_string());
            words.extend([service.id.clone(), record, revision, count]);
            words.extend(halves);
        }
        let failed = self.run(&self.scripts.place, &words, 5).await?;
        Ok(answers::not_placed(failed))
    }
}
