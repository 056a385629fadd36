//! One port and one backend as whoever has changed it is answered.

use std::sync::Arc;

use super::{
    Handle,
    reading::{loads, readings},
};
use crate::{
    api::{BackendItem, PortItem},
    control::Answer,
    forwarding::WhichBackends,
    model::{Backend, Refusal, RefusalKind, Service, now},
    reconcile::Scope,
    registry::Registry,
    views::{Snapshot, backends},
};

impl<R: Registry> Handle<R> {
    pub(super) async fn item(&self, id: &str) -> Answer<PortItem> {
        let (snapshot, service) = self.of_service(id).await?;
        let readings = readings(
            &snapshot.engines,
            (Scope::of(&service), WhichBackends::Avoided),
        )
        .await;
        Ok(snapshot.port_item(&service, &readings, now()))
    }

    /// What readers need of one service, whatever there is besides.
    pub(super) async fn of_service(&self, id: &str) -> Answer<(Snapshot, Arc<Service>)> {
        let controller = self.lock().await;
        let service = controller.services.get(id).cloned();
        let gone = || Refusal::new(RefusalKind::NotFound, "the port was deleted meanwhile");
        let service = service.ok_or_else(gone)?;
        Ok((controller.snapshot_of(vec![service.clone()]), service))
    }

    pub(super) async fn backend_item(
        &self,
        (service, backend): (Service, Backend),
    ) -> Answer<BackendItem> {
        let snapshot = self.lock().await.snapshot_of(Vec::new());
        let loads = loads(&snapshot.engines, Scope::of(&service)).await;
        let elsewhere = snapshot.elsewhere(&service);
        let of = (&service, &backend);
        Ok(backends::backend_item(
            of,
            &loads,
            elsewhere.as_deref(),
            now(),
        ))
    }
}
