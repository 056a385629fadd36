//! Writing down what this node knows: what could not be written is written as soon as it can be, and
//! a journal that was spoilt is written anew.

use super::{
    super::{RegistryError, journal::Looked},
    Engine,
};

impl Engine {
    /// Writes these services, as they are known now, to the journal, and what else it lacks.
    pub(super) async fn keep(&self, ids: &[String]) {
        self.memory().unkept.extend(ids.iter().cloned());
        self.keep_unkept().await;
    }

    /// Looks whether the journal can be written, and writes what is not in it.
    pub(super) async fn look_at_journal(&self) {
        let journal = self.journal.clone();
        let looked = tokio::task::spawn_blocking(move || journal.look()).await;
        if looked.is_ok_and(|looked| looked == Looked::Begun) {
            let mut memory = self.memory();
            let state = &memory.state;
            let all = state.known.keys().chain(state.deleted.keys());
            let all: Vec<String> = all.cloned().collect();
            memory.unkept.extend(all);
            memory.has_unkept_pools = true;
        }
        let is_behind = {
            let memory = self.memory();
            memory.not_kept.is_some() || !memory.unkept.is_empty() || memory.has_unkept_pools
        };
        if is_behind {
            self.keep_unkept().await;
        }
    }

    async fn keep_unkept(&self) {
        let _turn = self.keeping.lock().await;
        let (ids, rows, graves, position, pools) = {
            let mut memory = self.memory();
            let ids = std::mem::take(&mut memory.unkept);
            let has_pools = std::mem::take(&mut memory.has_unkept_pools);
            let state = &memory.state;
            let pools = has_pools.then(|| (state.pools.clone(), state.pools_seq));
            let row = |id: &String| (id.clone(), state.known.get(id).cloned());
            let gone = ids.iter().filter(|id| !state.known.contains_key(*id));
            let grave = |id: &String| (id.clone(), state.deleted.get(id).copied());
            let rows: Vec<_> = ids.iter().map(row).collect();
            let graves: Vec<_> = gone.map(grave).collect();
            let position = state.position.clone();
            (ids, rows, graves, position, pools)
        };
        let (journal, has_pools) = (self.journal.clone(), pools.is_some());
        let write = move || {
            if let Some((pools, seq)) = &pools {
                journal.write_pools(pools, *seq)?;
            }
            if !graves.is_empty() {
                journal.bury(&graves)?;
            }
            journal.write(&rows, &position)
        };
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(RegistryError::Engine(error.into())));
        let problem = written.err().map(|error| error.to_string());
        let mut memory = self.memory();
        if let Some(problem) = &problem {
            if memory.not_kept.is_none() {
                tracing::error!("the journal was not written: {problem}");
            }
            memory.unkept.extend(ids);
            memory.has_unkept_pools |= has_pools;
        }
        memory.not_kept = problem;
    }
}
