//! Changes of pools and their shares.

use super::{Controller, error::refused, pools::no_share};
use crate::{
    api::{AddShare, CreatePool, JoinPool, MoveShare, PoolItem},
    model::{Pool, Refusal, RefusalKind, Share, check_name, counted, now},
    registry::{Registry, RegistryError},
};

/// How often a change is made again because somebody else was faster.
const TRIES: usize = 8;

impl<R: Registry> Controller<R> {
    pub(super) async fn create_pool(&mut self, request: CreatePool) -> Result<PoolItem, Refusal> {
        let CreatePool { name, hostname } = request;
        let pool = Pool {
            name,
            hostname,
            created_at: now(),
            revision: 0,
            shares: Vec::new(),
        };
        pool.check()?;
        if pool.name == "none" {
            return Err(Refusal::invalid(
                "name",
                "\"none\" says that a port is in no pool",
            ));
        }
        if self.pools.get(&pool.name).is_some() {
            let text = format!("pool {} exists", pool.name);
            return Err(Refusal::new(RefusalKind::NameTaken, text).field("name"));
        }
        let recorded = self.registry.put_pool(&pool).await;
        let recorded = recorded.map_err(|error| refused(&error))?;
        self.pools_changed().await;
        self.pool_item_named(&recorded.name).await
    }

    pub(super) async fn delete_pool(&mut self, name: &str) -> Result<PoolItem, Refusal> {
        let item = self.pool_item_named(name).await?;
        let refuse = |text: String, fix: &str| {
            Err(Refusal::new(RefusalKind::Conflict, text).fix(fix.to_owned()))
        };
        if item.ports > 0 {
            let text = format!("pool {name} has {}", counted(item.ports, "port"));
            return refuse(text, "harbor-ctl ports set NAME pool=none, or delete them");
        }
        if !item.shares.is_empty() {
            let text = format!("pool {name} has {}", counted(item.shares.len(), "share"));
            return refuse(text, "harbor-ctl pool share remove POOL ID");
        }
        let pool = self.pool_named(name)?.clone();
        let removed = self.registry.remove_pool(&pool).await;
        removed.map_err(|error| refused(&error))?;
        self.pools_changed().await;
        Ok(item)
    }

    pub(super) async fn add_share(
        &mut self,
        name: &str,
        request: &AddShare,
    ) -> Result<PoolItem, Refusal> {
        self.amend_pool(name, |controller, pool| {
            let mut share = Share {
                id: request.id.clone(),
                number: 1,
                public: request.public.clone(),
                translation: request.translation.clone(),
                nodes: request.nodes.clone(),
                moved_to: String::new(),
            };
            controller.pools.clone().take_in(&mut share)?;
            controller.check_strange_nodes(&share)?;
            pool.shares.push(share);
            Ok(())
        })
        .await
    }

    /// A pool of one node's own registry has one node.
    fn check_strange_nodes(&self, share: &Share) -> Result<(), Refusal> {
        let node = &self.running.config.node;
        let stranger = share.nodes.iter().find(|other| *other != node);
        match stranger.filter(|_| !R::IS_SHARED) {
            Some(other) => {
                let text = format!("node {other} does not share this node's registry");
                Err(Refusal::new(RefusalKind::Conflict, text)
                    .field("nodes")
                    .fix("harbor-ctl node attach CORE, on each node"))
            }
            None => Ok(()),
        }
    }

    pub(super) async fn remove_share(&mut self, name: &str, id: &str) -> Result<PoolItem, Refusal> {
        self.amend_pool(name, |_, pool| {
            let before = pool.shares.len();
            pool.shares.retain(|share| share.id != id);
            match pool.shares.len() < before {
                true => Ok(()),
                false => Err(no_share(id)),
            }
        })
        .await
    }

    pub(super) async fn move_share(
        &mut self,
        id: &str,
        request: &MoveShare,
    ) -> Result<PoolItem, Refusal> {
        let (pool, share) = self.pools.share(id).ok_or_else(|| no_share(id))?;
        let (name, to) = (pool.name.clone(), &request.to);
        if !to.is_empty() {
            if !share.has_member(to) {
                let text = format!("node {} is none of share {id}", to.escape_default());
                let fix = format!("one of {}", share.nodes.join(", "));
                return Err(Refusal::invalid("to", text).fix(fix));
            }
            let is_ready = self.claims_of([share]).await.of(share, to);
            let is_ready = is_ready.is_some_and(|claim| claim.is_ready);
            if !is_ready {
                let text = format!("node {to} is not ready to take share {id}");
                let fix = format!("harbor-ctl pool show {name}");
                return Err(Refusal::new(RefusalKind::NotReady, text).fix(fix));
            }
        }
        self.amend_pool(&name, |_, pool| {
            let mut shares = pool.shares.iter_mut();
            let share = shares.find(|share| share.id == id);
            share.ok_or_else(|| no_share(id))?.moved_to.clone_from(to);
            Ok(())
        })
        .await
    }

    pub(super) async fn join_pool(
        &mut self,
        name: &str,
        request: &JoinPool,
    ) -> Result<PoolItem, Refusal> {
        let node = self.joining(request)?;
        self.amend_pool(name, |controller, pool| {
            if pool.shares.is_empty() {
                let text = format!("pool {name} has no shares yet");
                return Err(Refusal::new(RefusalKind::Conflict, text)
                    .fix("harbor-ctl pool share add POOL ID --nodes NODE,NODE"));
            }
            for share in &mut pool.shares {
                if !share.has_member(&node) {
                    share.nodes.push(node.clone());
                }
                controller.check_strange_nodes(share)?;
            }
            Ok(())
        })
        .await
    }

    pub(super) async fn leave_pool(
        &mut self,
        name: &str,
        request: &JoinPool,
    ) -> Result<PoolItem, Refusal> {
        let node = self.joining(request)?;
        let item = self.pool_item_named(name).await?;
        if let Some(held) = item
            .shares
            .iter()
            .find(|share| share.holders.contains(&node))
        {
            let text = format!("node {node} has share {} now", held.id);
            let fix = format!("harbor-ctl pool move {} --to ANOTHER, first", held.id);
            return Err(Refusal::new(RefusalKind::Conflict, text).fix(fix));
        }
        self.amend_pool(name, |_, pool| {
            for share in &mut pool.shares {
                if share.nodes == [node.clone()] {
                    let text = format!("node {node} is the only one of share {}", share.id);
                    return Err(Refusal::new(RefusalKind::Conflict, text)
                        .fix("harbor-ctl pool share remove POOL ID"));
                }
                share.nodes.retain(|member| *member != node);
                if share.moved_to == node {
                    share.moved_to.clear();
                }
            }
            Ok(())
        })
        .await
    }

    /// Takes in the pools of a document whose names are not known, all or none; answers them as recorded.
    pub(super) async fn import_pools(&mut self, pools: Vec<Pool>) -> Result<Vec<Pool>, Refusal> {
        let is_new = |pool: &Pool| self.pools.get(&pool.name).is_none();
        let mut new: Vec<Pool> = pools.into_iter().filter(is_new).collect();
        let mut known = self.pools.clone();
        for pool in &mut new {
            pool.check()?;
            for share in &mut pool.shares {
                self.check_strange_nodes(share)?;
                known.take_in(share)?;
            }
        }
        let mut added = Vec::new();
        for pool in new {
            let pool = Pool {
                revision: 0,
                ..pool
            };
            match self.registry.put_pool(&pool).await {
                Ok(recorded) => added.push(recorded),
                Err(error) => {
                    self.take_pools_out(&added).await;
                    return Err(refused(&error));
                }
            }
        }
        if !added.is_empty() {
            self.pools_changed().await;
        }
        Ok(added)
    }

    /// Takes out again what an import has brought.
    pub(super) async fn take_pools_out(&mut self, added: &[Pool]) {
        for pool in added {
            if let Err(error) = self.registry.remove_pool(pool).await {
                tracing::error!(
                    "pool {} of a document that was refused stays: {error}",
                    pool.name
                );
            }
        }
        if !added.is_empty() {
            self.pools_changed().await;
        }
    }

    fn joining(&self, request: &JoinPool) -> Result<String, Refusal> {
        let node = request.node.as_ref().unwrap_or(&self.running.config.node);
        check_name("node", node)?;
        Ok(node.clone())
    }

    /// Changes a pool's record; once more on a newer one when somebody else was faster.
    async fn amend_pool(
        &mut self,
        name: &str,
        change: impl Fn(&Self, &mut Pool) -> Result<(), Refusal>,
    ) -> Result<PoolItem, Refusal> {
        for _ in 0..TRIES {
            let before = self.pool_named(name)?;
            let mut pool = before.clone();
            change(self, &mut pool)?;
            pool.check()?;
            if pool == *before {
                return self.pool_item_named(name).await;
            }
            match self.registry.put_pool(&pool).await {
                Ok(_) => {
                    self.pools_changed().await;
                    return self.pool_item_named(name).await;
                }
                Err(RegistryError::Changed(_)) => self.look_again().await?,
                Err(error) => return Err(refused(&error)),
            }
        }
        let text = "others change this pool all the time";
        Err(Refusal::new(RefusalKind::Conflict, text).fix("try again"))
    }

    /// Takes over what the registry knows of pools now, and brings the engines to it.
    async fn pools_changed(&mut self) {
        self.pools = self.registry.pools();
        self.pending = super::Pending::All;
        self.apply_change().await;
        self.keep_shares();
        self.look_at_pools().await;
    }
}
