//! Asks the engines for counters, of a copy of the controller's state.

use std::sync::Arc;

use crate::{
    api::PortItem,
    forwarding::{Engines, WhichBackends},
    model::{Service, now},
    reconcile::Scope,
    views::{Readings, Snapshot, backends::Loads},
};

/// The engines' counters, as far as they answer; of all backends, or of those alone that are avoided,
/// which is what a port's state needs.
pub(crate) async fn readings(
    engines: &Engines,
    (scope, which): (Scope, WhichBackends),
) -> Readings {
    let frontends = engines.frontends(scope.clone()).await;
    let backends = engines.backends(scope, which).await;
    let loads = backends.map(Loads::of).unwrap_or_default();
    Readings::of(frontends.map_err(|error| error.to_string()), loads)
}

/// Unknown ones of engines that do not answer.
pub(super) async fn loads(engines: &Engines, scope: Scope) -> Loads {
    let reports = engines.backends(scope, WhichBackends::Every).await;
    reports.map(Loads::of).unwrap_or_default()
}

pub(super) async fn port_items(snapshot: &Snapshot) -> Vec<PortItem> {
    let readings = readings(&snapshot.engines, (Scope::Whole, WhichBackends::Avoided)).await;
    let time = now();
    let item = |service: &Arc<Service>| snapshot.port_item(service, &readings, time);
    snapshot.services.iter().map(item).collect()
}
