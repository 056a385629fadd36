//! Takes the copy of the controller's state that readers work on.

use std::{sync::Arc, time::Instant};

use super::Controller;
use crate::{
    model::Service,
    registry::Registry,
    views::{Snapshot, facts::Unapplied, status_parts::TcpApi},
};

impl<R: Registry> Controller<R> {
    /// A copy of what readers need, taken without waiting for the kernel.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.snapshot_of(self.services.iter().cloned().collect())
    }

    fn control_api(&self) -> TcpApi {
        let config = &self.running.config.control;
        TcpApi {
            listen: config.listen,
            has_tls: config.tls.is_some(),
            problem: self
                .tcp_problem
                .text()
                .or_else(|| self.socket_problem.clone()),
        }
    }

    fn gateway_api(&self) -> TcpApi {
        let config = self.running.config.gateway.as_ref();
        TcpApi {
            listen: config.map(|config| config.listen),
            has_tls: config.is_some_and(|config| config.tls.is_some()),
            problem: self.gateway_problem.text(),
        }
    }

    fn metrics_api(&self) -> TcpApi {
        TcpApi {
            listen: self.running.config.metrics.listen,
            has_tls: false,
            problem: self.metrics_problem.text(),
        }
    }

    fn console_api(&self) -> TcpApi {
        let config = &self.running.config.console;
        TcpApi {
            listen: config.listen,
            has_tls: config.tls.is_some(),
            problem: self.console_problem.text(),
        }
    }

    /// The same, with these services alone.
    pub(crate) fn snapshot_of(&self, services: Vec<Arc<Service>>) -> Snapshot {
        Snapshot {
            services,
            pools: self.pools.clone(),
            seen_pools: self.shares.seen.clone(),
            share_arrivals: self.shares.arrivals,
            copies: self.copying.state.totals(),
            resting: self.resting_now(),
            engines: self.engines.clone(),
            not_applied: self.not_applied.clone(),
            unheld: self.engines.proxy.unheld(),
            certificates: self.certificates.shown(),
            certificates_unanswered: self.certificates.unanswered(),
            held: self.conflicts.held().clone(),
            not_reserved: self.reserved.problem().cloned(),
            rates: self.rates.clone(),
            range: self.running.config.range,
            defaults: self.running.config.health.clone(),
            health: self.health_view(),
            config: self.running.source.path.clone(),
            registry: self.registry.describe(),
            control: self.control_api(),
            gateway: self.gateway_api(),
            metrics: self.metrics_api(),
            console: self.console_api(),
            configuration: Unapplied {
                unanswered: self.reading.unanswered(),
                ..self.configuration.clone()
            },
            nodes: self.told.nodes.clone(),
            lease: self.running.config.lease,
            flows_wanted: self.running.config.flows,
            place: self.place(),
            leases_frozen: self.leases.is_frozen(),
            refused: self.refusals.shown(Instant::now()),
            condition: self.registry.condition(),
            events: self.told.log.condition(),
            node: self.node(),
            uptime: self.started.elapsed(),
        }
    }
}
