//! Reads that stay cheap with many ports and backends.

use std::sync::Arc;

use super::{Handle, reading::readings};
use crate::{
    api::BackendItem,
    control::{Answer, FoundBackends, PortRow, SummaryOperations, Traffic},
    forwarding::WhichBackends,
    model::{Backend, Service, Throughput, now},
    reconcile::{Scope, frontends},
    registry::Registry,
    views::backends::{Loads, backend_item},
};

impl<R: Registry> SummaryOperations for Handle<R> {
    async fn port_rows(&self) -> Answer<Vec<PortRow>> {
        let snapshot = self.snapshot().await;
        let readings = readings(&snapshot.engines, (Scope::Whole, WhichBackends::Avoided)).await;
        let time = now();
        let row = |service: &Arc<Service>| {
            let item = snapshot.port_item(service, &readings, time);
            PortRow {
                service: Arc::clone(service),
                state: item.state,
                reason: item.reason,
                path: item.path,
                up: item.backends.up,
                flows: item.flows,
                rate_bps: item.rate_bps,
                certificate: item.certificate.map(Box::new),
            }
        };
        Ok(snapshot.services.iter().map(row).collect())
    }

    async fn traffic(&self) -> Traffic {
        let (services, rates) = {
            let controller = self.lock().await;
            let own = controller.services.iter().filter(|s| controller.serves(s));
            (own.cloned().collect::<Vec<_>>(), controller.rates.clone())
        };
        let mut traffic = Traffic::default();
        for service in services {
            let Some(carried) = rates.of(&service) else {
                traffic.is_unknown = true;
                break;
            };
            if carried != Throughput::default() {
                traffic.all = traffic.all.plus(carried);
                traffic.ports.push((service.id.clone(), carried));
            }
        }
        traffic
    }

    async fn find_backends(&self, text: String, most: usize) -> Answer<FoundBackends> {
        let snapshot = self.snapshot().await;
        let named = |service: &Arc<Service>| (service.clone(), snapshot.elsewhere(service));
        let mut services: Vec<Placed> = snapshot.services.iter().map(named).collect();
        services.sort_by_key(|(s, _)| (s.port, s.protocols.each(), s.id.clone()));
        // Who is avoided is said by the state; the counters are of use for those that are shown alone.
        let avoided = snapshot
            .engines
            .backends(Scope::Whole, WhichBackends::Avoided);
        let avoided = avoided.await.map(Loads::of).unwrap_or_default();
        let search = move || first_about(&services, &avoided, (&text, most));
        let searched = tokio::task::spawn_blocking(search).await;
        // A panic there ends the agent, so there is always an answer.
        let (first, found, all) = searched.unwrap_or_default();
        let shown = first
            .iter()
            .flat_map(|((service, _), _)| frontends(service));
        let scope = Scope::Part(shown.collect());
        let loads = snapshot.engines.backends(scope, WhichBackends::Every).await;
        let (loads, time) = (loads.map(Loads::of).unwrap_or_default(), now());
        let item = |((service, elsewhere), place): &(Placed, usize)| {
            let of = (&**service, &service.backends[*place]);
            backend_item(of, &loads, elsewhere.as_deref(), time)
        };
        Ok(FoundBackends {
            items: first.iter().map(item).collect(),
            found,
            all,
        })
    }
}

/// A service, and who serves it if this node does not.
type Placed = (Arc<Service>, Option<String>);

/// The first about which the text is said somewhere, how many there are, and how many were looked at.
fn first_about(
    services: &[Placed],
    avoided: &Loads,
    (text, most): (&str, usize),
) -> (Vec<(Placed, usize)>, usize, usize) {
    let (time, mut first) = (now(), Vec::new());
    let (mut found, mut all) = (0, 0);
    for (service, elsewhere) in services {
        all += service.backends.len();
        for (place, backend) in service.backends.iter().enumerate() {
            let is_meant = |backend: &Backend| {
                let item = || backend_item((service, backend), avoided, elsewhere.as_deref(), time);
                text.is_empty() || is_about(&item(), text)
            };
            if is_meant(backend) {
                found += 1;
                if first.len() < most {
                    first.push(((Arc::clone(service), elsewhere.clone()), place));
                }
            }
        }
    }
    (first, found, all)
}

fn is_about(item: &BackendItem, text: &str) -> bool {
    let texts = [&item.service, &item.instance, &item.state];
    let mut texts = texts.into_iter().chain(&item.dea);
    texts.any(|own| own.contains(text))
        || item.address.to_string().contains(text)
        || item.port.to_string().contains(text)
}
