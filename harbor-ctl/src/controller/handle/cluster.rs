//! Operations on nodes and on the state as a whole.

use tokio::sync::OwnedMutexGuard;

use super::Handle;
use crate::{
    api::{
        AttachNode, BackupItem, DetachNode, NodeItem, NodeMoved, ServiceCount, StateCheck,
        StateDocument,
    },
    control::{Answer, SharedOperations},
    controller::Controller,
    registry::Registry,
};

/// The controller, for as long as a change takes.
type Held<R> = OwnedMutexGuard<Controller<R>>;

impl<R: Registry> SharedOperations for Handle<R> {
    async fn nodes(&self) -> Answer<Vec<NodeItem>> {
        self.lock().await.nodes().await
    }

    async fn node(&self, id: String) -> Answer<NodeItem> {
        self.lock().await.node_named(&id).await
    }

    async fn drain_node(&self, id: String, draining: bool) -> Answer<NodeItem> {
        self.change(move |mut controller: Held<R>| async move {
            controller.drain_node(&id, draining).await
        })
        .await
    }

    async fn forget_node(&self, id: String) -> Answer<ServiceCount> {
        self.change(move |mut controller: Held<R>| async move { controller.forget_node(&id).await })
            .await
    }

    async fn attach(&self, request: AttachNode) -> Answer<NodeMoved> {
        let handle = self.clone();
        let work = async move {
            let _turn = handle.config_turn().await;
            let joining = handle.lock().await.join(&request)?;
            let (url, written) = joining.write().await?;
            Ok(handle.lock().await.joined(url, written).await)
        };
        self.to_its_end(work).await
    }

    async fn detach(&self, request: DetachNode) -> Answer<NodeMoved> {
        let turn = self.config_turn().await;
        self.await_configuration().await?;
        let detach = move |mut controller: Held<R>| async move {
            let _turn = turn;
            controller.detach(request).await
        };
        self.change(detach).await
    }

    async fn export_state(&self) -> Answer<StateDocument> {
        self.lock().await.export_state()
    }

    async fn import_state(&self, document: StateDocument) -> Answer<ServiceCount> {
        self.change(move |mut controller: Held<R>| async move {
            controller.import_state(document).await
        })
        .await
    }

    async fn check_state(&self) -> Answer<StateCheck> {
        self.lock().await.check_state().await
    }

    async fn backup_state(&self) -> Answer<BackupItem> {
        self.change(move |controller: Held<R>| async move { controller.backup_state().await })
            .await
    }

    async fn confirm_state(&self) -> Answer<ServiceCount> {
        self.change(move |mut controller: Held<R>| async move { controller.confirm_state().await })
            .await
    }
}
