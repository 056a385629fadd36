//! Pools in the shared registry: read when their number of changes differs, put back when they were lost.

use super::{
    super::RegistryError,
    Engine,
    answers::{self, PoolsAnswer},
};
use crate::{
    model::{Pool, Pools},
    registry::watch::{Claim, News},
};

impl Engine {
    /// Reads every pool; `is_new`: the registry may have lost what it knew, and what was acknowledged here is
    /// put back.
    pub(super) async fn synchronise_pools(&self, is_new: bool) -> Result<(), RegistryError> {
        let (known, known_seq, is_fenced) = {
            let memory = self.memory();
            let state = &memory.state;
            (state.pools.clone(), state.pools_seq, memory.is_fenced)
        };
        let (mut seq, mut found) = self.read_pools().await?;
        if !is_fenced && (is_new || seq < known_seq) {
            let mut is_changed = false;
            for pool in lost(&known, &found) {
                tracing::error!("the registry had lost pool {}: put back", pool.name);
                let words = words(pool, pool.revision, "back")?;
                is_changed |= self.run::<i64>(&self.scripts.put_pool, &words, 1).await? == 1;
            }
            if is_changed {
                (seq, found) = self.read_pools().await?;
            }
        }
        self.take_pools(seq, found).await;
        Ok(())
    }

    /// What a beat says of pools: those that this node is one of, and what it is in their shares.
    pub(super) fn said_of_pools(&self) -> Vec<String> {
        let memory = self.memory();
        let pools = &memory.state.pools.0;
        let own = pools.iter().filter(|pool| pool.has_member(&self.node));
        let own: Vec<String> = own.map(|pool| pool.name.clone()).collect();
        let mut words = vec![own.len().to_string()];
        words.extend(own);
        for (id, claim) in &memory.said {
            let flags = [
                (claim.is_held, "h"),
                (claim.is_partial, "p"),
                (claim.is_ready, "r"),
            ];
            let flags = flags.iter().filter(|(is_so, _)| *is_so);
            words.extend([id.clone(), flags.map(|(_, flag)| *flag).collect()]);
        }
        words
    }

    /// What nodes have said of shares lately: whether they have it, and whether they could.
    pub(super) async fn claims(
        &self,
        asked: &[(String, String)],
    ) -> Result<Vec<Option<Claim>>, RegistryError> {
        let pairs = asked.iter().map(|(share, node)| format!("{share}:{node}"));
        let words: Vec<String> = pairs.collect();
        let rows: Vec<(answers::Bytes, answers::Bytes)> =
            self.run(&self.scripts.claims, &words, 1).await?;
        Ok(rows.iter().map(answers::claim).collect())
    }

    async fn read_pools(&self) -> Result<(u64, Pools), RegistryError> {
        let answer: PoolsAnswer = self.run(&self.scripts.pools, &[], 1).await?;
        Ok(answers::pools(answer))
    }

    async fn take_pools(&self, seq: u64, pools: Pools) {
        let is_news = {
            let memory = &mut *self.memory();
            let state = &mut memory.state;
            state.pools_seq = seq;
            let before = std::mem::replace(&mut state.pools, pools);
            memory.has_unkept_pools |= before != state.pools;
            before != state.pools
        };
        if is_news {
            self.keep(&[]).await;
            self.tell(News::Synchronised);
        }
    }

    /// Writes a pool, or removes it, if nobody else has changed it since.
    pub(super) async fn put_pool(
        &self,
        pool: &Pool,
        is_removed: bool,
    ) -> Result<Pool, RegistryError> {
        // A new one takes nothing from what is held: a document that puts ports back may bring it.
        match pool.revision > u64::from(is_removed) {
            true => self.gate()?,
            false => self.reach()?,
        }
        let seen = pool.revision;
        let pool = Pool {
            revision: seen + 1,
            ..pool.clone()
        };
        let mut words = words(&pool, seen, "change")?;
        if is_removed {
            words[1].clear();
        }
        match self.ask::<i64>(&self.scripts.put_pool, &words, 1).await {
            Ok(_) => {}
            Err(fault) if fault.code == "CHANGED" => return Err(RegistryError::Changed(pool.name)),
            Err(fault) => {
                return Err(self.failed(fault)).inspect_err(|error| self.note(error));
            }
        }
        let (seq, pools) = self.read_pools().await?;
        self.take_pools(seq, pools).await;
        Ok(pool)
    }
}

fn words(pool: &Pool, seen: u64, how: &str) -> Result<Vec<String>, RegistryError> {
    let record = serde_json::to_string(pool);
    let record = record.map_err(|error| RegistryError::Engine(error.into()))?;
    Ok(vec![
        pool.name.clone(),
        record,
        seen.to_string(),
        how.to_owned(),
    ])
}

/// What is known, and not found as it was.
fn lost<'a>(known: &'a Pools, found: &Pools) -> Vec<&'a Pool> {
    let is_lost = |pool: &&Pool| {
        let found = found.get(&pool.name);
        found.is_none_or(|found| found.revision < pool.revision)
    };
    known.0.iter().filter(is_lost).collect()
}
