//! What an import leaves out of what is served: a number without its backends is not accounted for, and what
//! is still missing is named.

use std::collections::BTreeSet;

use super::Controller;
use crate::{
    model::{Protocol, Refusal, RefusalKind, Service},
    registry::{Backends, Registry, named},
};

impl<R: Registry> Controller<R> {
    /// Refuses services whose numbers are served by backends of which they name none; answers with what is
    /// served and was not in the registry.
    pub(super) fn refuse_hollow(&self, services: &[Service]) -> Result<Backends, Refusal> {
        let Some(emptied) = self.registry.condition().emptied else {
            return Ok(Backends::new());
        };
        for service in services {
            for half in halves(service) {
                let Some(served) = emptied.lacking.get(&half) else {
                    continue;
                };
                let is_its = |address: &std::net::SocketAddr| {
                    service.backends.iter().any(|b| b.address == *address)
                };
                if served.is_empty() || served.iter().any(is_its) {
                    continue;
                }
                let (name, (protocol, port)) = (&service.name, half);
                let of = Backends::from([(half, served.clone())]);
                let backends = named(&of).unwrap_or_default();
                let text = format!(
                    "service {name}: clients of {port}/{protocol} are served by backends of which it names none: \
                     {backends}"
                );
                let fix = "name them in the document; or let go of what the registry does not hold: \
                           harbor-ctl state confirm";
                let refusal = Refusal::new(RefusalKind::Conflict, text).field("services");
                return Err(refusal.fix(fix));
            }
        }
        Ok(emptied.lacking.clone())
    }

    /// What is served and is not in the registry after an import, and backends that it has left out.
    pub(super) fn still_missing(&self, served: &Backends, taken: &[Service]) -> Vec<String> {
        let condition = self.registry.condition();
        let emptied = condition.emptied.as_deref();
        let lacking = emptied.map(|emptied| emptied.lacking.keys());
        let ports = lacking.into_iter().flatten().map(|(protocol, port)| {
            format!("port {port}/{protocol} is served and is not in the registry")
        });
        let withheld = condition.withheld.iter();
        let withheld =
            withheld.map(|id| format!("service {id} is served and is not in the registry"));
        ports
            .chain(withheld)
            .chain(left_out(served, taken))
            .collect()
    }
}

/// Backends that serve clients of what was taken in, and that the document does not name.
fn left_out(served: &Backends, taken: &[Service]) -> Vec<String> {
    let mut missing = Vec::new();
    for service in taken {
        let own: BTreeSet<_> = service.backends.iter().map(|b| b.address).collect();
        for half @ (protocol, port) in halves(service) {
            let gone = served.get(&half).into_iter().flat_map(|all| all - &own);
            missing.extend(gone.map(|address| {
                format!(
                    "backend {address} of {port}/{protocol} was served and is not in the document"
                )
            }));
        }
    }
    missing
}

fn halves(service: &Service) -> impl Iterator<Item = (Protocol, u16)> {
    let port = service.port;
    let each = service.protocols.each().iter();
    each.map(move |&protocol| (protocol, port))
}
