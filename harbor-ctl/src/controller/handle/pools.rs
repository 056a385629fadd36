//! Operations on pools.

use tokio::sync::OwnedMutexGuard;

use super::Handle;
use crate::{
    api::{AddShare, CreatePool, EngineText, JoinPool, MoveShare, PoolItem, ShareReady},
    control::{Answer, PoolOperations},
    controller::Controller,
    copies,
    registry::Registry,
};

/// The controller, for as long as a change takes.
type Held<R> = OwnedMutexGuard<Controller<R>>;

impl<R: Registry> Handle<R> {
    /// Copies flows for ever, if that is configured.
    pub(crate) async fn copy_flows(self) {
        let copying = self.lock().await.copying();
        if let Some((settings, plan, state)) = copying {
            copies::run(settings, plan, state).await;
        }
    }
}

impl<R: Registry> PoolOperations for Handle<R> {
    async fn pools(&self) -> Answer<Vec<PoolItem>> {
        Ok(self.lock().await.pool_items().await)
    }

    async fn pool(&self, name: String) -> Answer<PoolItem> {
        self.lock().await.pool_item_named(&name).await
    }

    async fn create_pool(&self, request: CreatePool) -> Answer<PoolItem> {
        self.change(
            move |mut controller: Held<R>| async move { controller.create_pool(request).await },
        )
        .await
    }

    async fn delete_pool(&self, name: String) -> Answer<PoolItem> {
        self.change(
            move |mut controller: Held<R>| async move { controller.delete_pool(&name).await },
        )
        .await
    }

    async fn join_pool(&self, name: String, request: JoinPool) -> Answer<PoolItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.join_pool(&name, &request).await
        })
        .await
    }

    async fn leave_pool(&self, name: String, request: JoinPool) -> Answer<PoolItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.leave_pool(&name, &request).await
        })
        .await
    }

    async fn add_share(&self, name: String, request: AddShare) -> Answer<PoolItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.add_share(&name, &request).await
        })
        .await
    }

    async fn remove_share(&self, name: String, id: String) -> Answer<PoolItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.remove_share(&name, &id).await
        })
        .await
    }

    async fn move_share(&self, id: String, request: MoveShare) -> Answer<PoolItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.move_share(&id, &request).await
        })
        .await
    }

    async fn ready_share(&self, id: String) -> Answer<ShareReady> {
        if let Some(reason) = self.readiness.get(&id) {
            return Ok(ShareReady {
                id,
                ready: reason.is_none(),
                reason,
            });
        }
        // One that this node may not have, or that was just made.
        self.lock().await.share_ready(&id).await
    }

    async fn engine_of_pool(&self, name: String, engine: String) -> Answer<EngineText> {
        self.lock().await.engine_of_pool(&name, &engine).await
    }
}
