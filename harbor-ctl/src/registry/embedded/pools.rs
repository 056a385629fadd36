//! Pools of one node's own registry: one node, and the same records as in a shared one.

use redb::ReadableTable as _;

use super::{EmbeddedRegistry, engine, rows::POOLS};
use crate::{
    model::{Pool, Pools},
    registry::RegistryError,
};

impl EmbeddedRegistry {
    /// Every pool; what cannot be read counts as none, and the next change says why.
    pub(super) fn pools_now(&self) -> Pools {
        self.load_now()
            .map(|contents| contents.pools)
            .unwrap_or_default()
    }

    /// Writes a pool, or removes it, if its record has the revision that was seen.
    pub(super) async fn put_pool_now(
        &self,
        pool: &Pool,
        is_removed: bool,
    ) -> Result<Pool, RegistryError> {
        // A new one takes nothing from what is held: a document that puts ports back may bring it.
        if pool.revision > u64::from(is_removed) {
            self.gate()?;
        }
        let mut pool = pool.clone();
        let recorded = self.write(move |transaction| {
            let seen = pool.revision;
            pool.revision += 1;
            let mut table = transaction.open_table(POOLS).map_err(engine)?;
            let held = table.get(pool.name.as_str()).map_err(engine)?;
            let held = held.map(|record| serde_json::from_slice::<Pool>(record.value()));
            let held = held.transpose().map_err(engine)?;
            if held.map_or(0, |held| held.revision) != seen {
                return Err(RegistryError::Changed(pool.name));
            }
            if is_removed {
                table.remove(pool.name.as_str()).map_err(engine)?;
            } else {
                let record = serde_json::to_vec(&pool).map_err(engine)?;
                let row = (pool.name.as_str(), record.as_slice());
                table.insert(row.0, row.1).map_err(engine)?;
            }
            Ok(pool)
        });
        let recorded = recorded.await?;
        self.copy_pools_soon();
        Ok(recorded)
    }
}
