//! The desk's answers about nodes and the state as a whole.

use tokio::sync::OwnedMutexGuard;

use super::{desk::Desk, owner::Owner};
use crate::{
    control::{
        Answer, SharedOperations,
        wire::{
            AttachNode, BackupItem, DetachNode, NodeItem, NodeMoved, ServiceCount, StateCheck,
            StateDocument,
        },
    },
    registry::Registry,
};

/// The owner, for as long as a change takes.
type Held<R> = OwnedMutexGuard<Owner<R>>;

impl<R: Registry> SharedOperations for Desk<R> {
    async fn nodes(&self) -> Answer<Vec<NodeItem>> {
        self.lock().await.nodes().await
    }

    async fn node(&self, id: String) -> Answer<NodeItem> {
        self.lock().await.node_named(&id).await
    }

    async fn drain_node(&self, id: String, draining: bool) -> Answer<NodeItem> {
        self.change(move |mut owner: Held<R>| async move { owner.drain_node(&id, draining).await })
            .await
    }

    async fn forget_node(&self, id: String) -> Answer<ServiceCount> {
        self.change(move |mut owner: Held<R>| async move { owner.forget_node(&id).await })
            .await
    }

    async fn attach(&self, request: AttachNode) -> Answer<NodeMoved> {
        self.change(move |mut owner: Held<R>| async move { owner.attach(request).await })
            .await
    }

    async fn detach(&self, request: DetachNode) -> Answer<NodeMoved> {
        self.change(move |mut owner: Held<R>| async move { owner.detach(request).await })
            .await
    }

    async fn export_state(&self) -> Answer<StateDocument> {
        Ok(self.lock().await.export_state())
    }

    async fn import_state(&self, document: StateDocument) -> Answer<ServiceCount> {
        self.change(move |mut owner: Held<R>| async move { owner.import_state(document).await })
            .await
    }

    async fn check_state(&self) -> Answer<StateCheck> {
        self.lock().await.check_state().await
    }

    async fn backup_state(&self) -> Answer<BackupItem> {
        self.change(move |owner: Held<R>| async move { owner.backup_state().await })
            .await
    }

    async fn confirm_state(&self) -> Answer<ServiceCount> {
        self.change(move |mut owner: Held<R>| async move { owner.confirm_state().await })
            .await
    }
}
