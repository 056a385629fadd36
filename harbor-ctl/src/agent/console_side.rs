//! Keeps the listener of the console open: what stands in the way is shown and tried again. Answers what
//! its pages ask about many ports.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use super::{
    backend_view::{Loads, backend_item},
    desk::{Desk, not_ready, readings},
    forwarding::Which,
    owner::now,
    tcp_side::TcpProblem,
};
use crate::{
    config::ConsoleConfig,
    console::{self, Accounts},
    control::{
        Answer, Carried, FoundBackends, PortRow, SummaryOperations, Traffic, wire::BackendItem,
    },
    http::{Certificates, TcpSide, Tls},
    model::{Backend, HttpLimits, Service},
    reconcile::{Scope, frontends},
    registry::Registry,
};

/// How long to wait before listening is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Below the state directory.
const SESSIONS: &str = "console.sessions";
/// People are few; each has a stream and what a page fetches.
const LIMITS: HttpLimits = HttpLimits {
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(120),
    connections: 256,
    connections_per_peer: 64,
};

impl<R: Registry> Desk<R> {
    /// What the console is to be, where it keeps who is signed in, and where its trouble is told.
    async fn console_side(&self) -> (ConsoleConfig, PathBuf, TcpProblem) {
        let owner = self.lock().await;
        let config = &owner.running.config;
        let sessions = config.paths.state.join(SESSIONS);
        (
            config.console.clone(),
            sessions,
            owner.console_problem.clone(),
        )
    }
}

/// Serves until the runtime ends.
pub(super) async fn run<R: Registry>(desk: Desk<R>) {
    let (config, sessions, problem) = desk.console_side().await;
    loop {
        match open(&config).await {
            Ok(None) => return,
            Ok(Some((listener, accounts))) => {
                problem.clear();
                tracing::info!("console: {}", listener.address());
                let names = desk.names(&config.hosts).await;
                let known = (accounts, sessions.clone(), names);
                console::serve(listener, known, (desk.clone(), LIMITS)).await;
            }
            Err(error) => {
                let text = format!("the console does not run: {error}");
                if problem.show(&text) {
                    tracing::error!("{text}");
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn open(config: &ConsoleConfig) -> io::Result<Option<(TcpSide, Accounts)>> {
    let Some(address) = config.listen else {
        return Ok(None);
    };
    let accounts = Accounts::read(
        config.token_file.as_deref(),
        config.password_file.as_deref(),
    )?;
    let tls = config.tls.as_ref().map(|(certificate, key)| Tls {
        certificate,
        key,
        client_ca: None,
        certificates: Certificates::Optional,
    });
    let bound = TcpSide::bind(address, tls).await;
    let named = |e: io::Error| io::Error::new(e.kind(), format!("{address}: {e}"));
    Ok(Some((bound.map_err(named)?, accounts)))
}

impl<R: Registry> SummaryOperations for Desk<R> {
    async fn port_rows(&self) -> Answer<Vec<PortRow>> {
        let snapshot = self.snapshot().await;
        let readings = readings(&snapshot.engines, (Scope::Whole, Which::Avoided)).await;
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
            let owner = self.lock().await;
            let own = owner.services.iter().filter(|s| owner.serves(s));
            (own.cloned().collect::<Vec<_>>(), owner.rates.clone())
        };
        let mut traffic = Traffic::default();
        for service in services {
            let carried = rates.of(&service);
            if carried != Carried::default() {
                traffic.all = traffic.all.plus(carried);
                traffic.ports.push((service.id.clone(), carried));
            }
        }
        traffic
    }

    async fn find_backends(&self, text: String, most: usize) -> Answer<FoundBackends> {
        let snapshot = self.snapshot().await;
        let mut services = snapshot.services;
        services.sort_by_key(|s| (s.port, s.protocols.each(), s.id.clone()));
        // Who is avoided is said by the state; the counters are of use for those that are shown alone.
        let avoided = snapshot.engines.backends(Scope::Whole, Which::Avoided);
        let avoided = Loads::of(avoided.await.map_err(not_ready)?);
        let search = move || first_about(&services, &avoided, (&text, most));
        let searched = tokio::task::spawn_blocking(search).await;
        // A panic there ends the agent, so there is always an answer.
        let (first, found, all) = searched.unwrap_or_default();
        let shown = first.iter().flat_map(|(service, _)| frontends(service));
        let scope = Scope::Part(shown.collect());
        let loads = snapshot.engines.backends(scope, Which::Every).await;
        let (loads, time) = (Loads::of(loads.map_err(not_ready)?), now());
        let item = |(service, place): &(Arc<Service>, usize)| {
            backend_item(service, &service.backends[*place], &loads, time)
        };
        Ok(FoundBackends {
            items: first.iter().map(item).collect(),
            found,
            all,
        })
    }
}

/// Which backend of which service.
type Named = (Arc<Service>, usize);

/// The first about which the text is said somewhere, how many there are, and how many were looked at.
fn first_about(
    services: &[Arc<Service>],
    avoided: &Loads,
    (text, most): (&str, usize),
) -> (Vec<Named>, usize, usize) {
    let (time, mut first) = (now(), Vec::new());
    let (mut found, mut all) = (0, 0);
    for service in services {
        all += service.backends.len();
        for (place, backend) in service.backends.iter().enumerate() {
            let is_meant = |backend: &Backend| {
                text.is_empty() || is_about(&backend_item(service, backend, avoided, time), text)
            };
            if is_meant(backend) {
                found += 1;
                if first.len() < most {
                    first.push((Arc::clone(service), place));
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
