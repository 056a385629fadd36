//! Bringing a node into sync: everything is compared by its content, what the registry has lost is put
//! back, and what was deleted is deleted again. Then what the registry holds is taken over.

use super::{
    super::{News, RegistryError, journal::BROUGHT_ALONG},
    Engine, answers,
    state::Snapshot,
};
use crate::model::Service;

/// How many services are put back by one script.
const PLACED_AT_ONCE: usize = 50;

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
            let unplaced: Vec<String> = self.memory().state.unplaced.keys().cloned().collect();
            if is_new || !unplaced.is_empty() {
                self.put_back().await?;
            }
            if is_new || !has_joined {
                snapshot = self.snapshot().await?;
            }
            if self.put_right(&snapshot).await? {
                snapshot = self.snapshot().await?;
            }
        }
        let differ = self.take_all(snapshot, own_changes).await?;
        self.keep(&differ).await;
        self.tell(News::Synchronised);
        Ok(())
    }

    /// Puts back what was acknowledged here and nobody has deleted, and takes out again what was
    /// deleted; whether anything was changed.
    async fn put_right(&self, snapshot: &Snapshot) -> Result<bool, RegistryError> {
        let (mut lost, returned) = {
            let memory = self.memory();
            let lost = memory.state.lost(&self.node, snapshot);
            (lost, memory.state.returned(&self.node, snapshot))
        };
        if !lost.is_empty() {
            let ids: Vec<String> = lost.iter().map(|service| service.id.clone()).collect();
            let buried: Vec<String> = self.run(&self.scripts.buried, &ids, 1).await?;
            lost.retain(|service| !buried.contains(&service.id));
        }
        for part in lost.chunks(PLACED_AT_ONCE) {
            let unplaced = self.place("each", part).await?;
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
        if !lost.is_empty() || !returned.is_empty() {
            let (lost, returned) = (lost.len(), returned.len());
            tracing::error!(
                lost,
                returned,
                "the registry had gone back in time: put right"
            );
        }
        Ok(!lost.is_empty() || !returned.is_empty())
    }

    /// Takes a snapshot over, or a newer one if this node has changed something since.
    async fn take_all(
        &self,
        mut snapshot: Snapshot,
        mut own_changes: u64,
    ) -> Result<Vec<String>, RegistryError> {
        for is_last in [false, false, false, true] {
            {
                let mut memory = self.memory();
                if memory.has_left {
                    return Ok(Vec::new());
                }
                if memory.own_changes == own_changes || is_last {
                    return Ok(memory.state.take_all(&self.node, snapshot));
                }
                own_changes = memory.own_changes;
            }
            snapshot = self.snapshot().await?;
        }
        unreachable!("the last attempt always returns")
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
