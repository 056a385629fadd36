//! What readers see: built from a copy of the controller's state and fresh counters, so that a slow
//! reader never holds up a change.

pub(super) mod backends;
mod elsewhere;
pub(super) mod explain;
pub(super) mod facts;
pub(super) mod flows;
mod health;
pub(super) mod metrics;
mod paths;
mod process;
mod range;
mod rates;
pub(super) mod readiness;
pub(super) mod registry;
pub(super) mod source_ports;
pub(super) mod status;
pub(super) mod status_parts;
pub(super) mod status_proxy;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::{
    api::{BackendCount, CertificateItem, PoolItem, PortCounters, PortItem},
    forwarding::Engines,
    model::{
        CertificateFault, CopyTotals, Filled, FrontendReport, HealthDefaults, NodeRecord, Place,
        Pools, PortFacts, PortRange, Protocol, Service, format_age, judge_elsewhere, judge_port,
    },
    proxy::Unheld,
    registry::Condition,
};
pub(super) use rates::Rates;

use backends::Loads;
use facts::{
    CertificateFacts, HealthView, HeldNumbers, NotReserved, RefusedAnnouncements, Unapplied,
};
use status_parts::TcpApi;

/// What the engines have counted and seen, as far as they answered.
#[derive(Debug, Default)]
pub(super) struct Readings {
    frontends: BTreeMap<(Protocol, u16), FrontendReport>,
    /// Why nobody knows what is carried.
    unknown: Option<String>,
    pub(super) loads: Loads,
}

impl Readings {
    pub(crate) fn of(frontends: Result<Vec<FrontendReport>, String>, loads: Loads) -> Self {
        let (frontends, unknown) = match frontends {
            Ok(frontends) => (frontends, None),
            Err(why) => (Vec::new(), Some(why)),
        };
        let keyed = frontends
            .into_iter()
            .map(|report| ((report.protocol, report.port), report));
        Self {
            frontends: keyed.collect(),
            unknown,
            loads,
        }
    }

    /// Of each of the service's protocols that is served.
    fn of_service(&self, service: &Service) -> Vec<&FrontendReport> {
        let each = service.protocols.each().iter();
        let found = each.filter_map(|&protocol| self.frontends.get(&(protocol, service.port)));
        found.collect()
    }
}

/// The controller's state as of one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(super) services: Vec<Arc<Service>>,
    pub(super) resting: BTreeSet<(Protocol, u16)>,
    pub(super) engines: Engines,
    /// Why the kernel does not have the last change.
    pub(super) not_applied: Option<String>,
    /// Numbers that the proxy could not take.
    pub(super) pools: Pools,
    /// As they were seen a moment ago.
    pub(super) seen_pools: Vec<PoolItem>,
    /// How often a share has come to this node.
    pub(super) share_arrivals: u64,
    pub(super) copies: CopyTotals,
    pub(super) unheld: BTreeMap<(Protocol, u16), Unheld>,
    pub(super) held: HeldNumbers,
    /// By the service's id.
    pub(super) certificates: BTreeMap<String, CertificateFacts>,
    /// For how long their files have not answered.
    pub(super) certificates_unanswered: Option<Duration>,
    /// Why numbers are not kept from the host's own connections.
    pub(super) not_reserved: Option<NotReserved>,
    pub(super) rates: Rates,
    pub(super) range: PortRange,
    pub(super) defaults: HealthDefaults,
    pub(super) health: HealthView,
    pub(super) config: PathBuf,
    pub(super) registry: String,
    pub(super) control: TcpApi,
    pub(super) gateway: TcpApi,
    pub(super) metrics: TcpApi,
    pub(super) console: TcpApi,
    pub(super) configuration: Unapplied,
    /// Those that share the registry, as they were when it was asked last.
    pub(super) nodes: Option<Vec<NodeRecord>>,
    pub(super) lease: Duration,
    /// `datapath.flows`
    pub(super) flows_wanted: u32,
    /// Where this node's ports are reached.
    pub(super) place: Place,
    /// The registry does not say which app hosts live.
    pub(super) leases_frozen: bool,
    /// What app hosts say and is refused.
    pub(super) refused: Option<RefusedAnnouncements>,
    pub(super) condition: Condition,
    /// How many events are kept, and why the disk does not have the last of them.
    pub(super) events: (usize, Option<String>),
    /// This node's name in a registry that others share; else empty.
    pub(super) node: String,
    pub(super) uptime: Duration,
}

impl Snapshot {
    /// Whether this node forwards it.
    pub(super) fn is_own(&self, service: &Service) -> bool {
        self.node.is_empty() || service.is_of(&self.node, &self.pools)
    }

    /// The same, of a port as it is shown.
    pub(super) fn is_own_item(&self, port: &PortItem) -> bool {
        let pool = self.pools.get(&port.pool);
        let is_member = pool.map(|pool| pool.has_member(&self.node));
        self.node.is_empty() || is_member.unwrap_or(port.node == self.node)
    }

    /// One port as it is shown.
    pub(super) fn port_item(&self, service: &Service, readings: &Readings, now: u64) -> PortItem {
        // What another node's ports carry that node knows.
        let elsewhere = self.elsewhere(service);
        let (own, unknown) = match &elsewhere {
            None => (readings.of_service(service), readings.unknown.clone()),
            Some(_) => (Vec::new(), elsewhere.clone()),
        };
        let (up, (state, reason)) = match &elsewhere {
            None => {
                let facts = self.facts(service, (&own, &readings.loads), now);
                (Some(facts.taking(service)), judge_port(service, &facts))
            }
            Some(why) => (
                service.backends.is_empty().then_some(0),
                judge_elsewhere(service, why),
            ),
        };
        let rates = self.rates.of(service).filter(|_| unknown.is_none());
        let provisioned = service.provisioned.as_ref();
        let (path, path_reason) = paths::of_port(service, &own, unknown.is_some());
        PortItem {
            name: service.name.clone(),
            id: service.id.clone(),
            port: service.port,
            protocols: service.protocols.each().to_vec(),
            state,
            reason,
            path,
            path_reason,
            backends: BackendCount {
                up,
                total: service.backends.len(),
            },
            flows: unknown.is_none().then(|| own.iter().map(|r| r.flows).sum()),
            rate_bps: rates.map(|rates| rates.in_bps + rates.out_bps),
            rate_in_bps: rates.map(|rates| rates.in_bps),
            rate_out_bps: rates.map(|rates| rates.out_bps),
            unknown,
            policy: service.settings.policy,
            udp_policy: service.settings.udp_policy,
            drain_s: service.settings.drain_s,
            settings: service.settings.clone(),
            node: service.node.clone(),
            pool: service.pool.clone(),
            created_at: service.created_at,
            age_s: now.saturating_sub(service.created_at),
            expires_in_s: service.expires_at.map(|end| end.saturating_sub(now)),
            certificate: self.certificates.get(&service.id).map(certificate),
            public: self.reached_at(service),
            organization: provisioned.map(|said| said.organization.clone()),
            space: provisioned.map(|said| said.space.clone()),
            apps: service
                .bindings
                .iter()
                .filter_map(|bound| bound.app.clone())
                .collect(),
            full: self.full_shares(service, &own),
            counters: own.into_iter().map(counters).collect(),
        }
    }

    /// What the port has used up, or nearly so, of the flow table and of the proxy.
    fn full_shares(&self, service: &Service, own: &[&FrontendReport]) -> Vec<String> {
        if !self.is_own(service) {
            return Vec::new();
        }
        let each = service.protocols.each().iter();
        let shares = each.map(|&protocol| self.engines.proxy.share_of(protocol, service.port));
        let shares = shares.filter(Filled::is_nearly_full);
        let shares = shares.map(|share| format!("descriptors of {share}"));
        let kept = own.iter().filter_map(|report| report.kept.as_ref());
        let kept = kept.filter(|kept| kept.is_nearly_full());
        kept.map(|kept| format!("flows of {kept}"))
            .chain(shares)
            .collect()
    }

    /// Where clients reach it; of another node's only what that has said.
    fn reached_at(&self, service: &Service) -> Option<String> {
        let place = match self.is_own(service) {
            true => &self.place,
            false => &service.provisioned.as_ref()?.place,
        };
        let host = place.reached_at();
        let is_v6 = host.parse::<Ipv6Addr>().is_ok();
        let host = if is_v6 {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        (!host.is_empty()).then(|| format!("{host}:{}", service.port))
    }

    /// That a registry of an earlier time has a port which nothing serves: it was deleted since.
    fn given_up(&self, own: &[&FrontendReport]) -> Option<String> {
        let is_given_up = self.condition.emptied.is_some() && own.is_empty();
        is_given_up
            .then(|| "the registry is of an earlier time: nothing serves this port now".into())
    }

    fn facts(
        &self,
        service: &Service,
        (own, loads): (&[&FrontendReport], &Loads),
        now: u64,
    ) -> PortFacts {
        let each = || service.protocols.each().iter().map(|&p| (p, service.port));
        let holder = |key| self.held.get(&key).map(ToString::to_string);
        // A draining port gives the kernel no backend for new flows; that says nothing about them.
        let counted = own.iter().map(|r| r.backends_reachable as usize).min();
        let reachable = counted.filter(|_| !service.draining);
        PortFacts {
            not_forwarded: self
                .not_applied
                .clone()
                .or_else(|| self.given_up(own))
                .or_else(|| each().find_map(|key| self.not_held(key, own))),
            held_by: each().find_map(holder),
            certificate: self.certificate_fault(service, now),
            reachable,
            avoided: loads.avoided(service),
            all_down: self.defaults.all_down,
        }
    }

    /// What is wrong with the certificates of a port that ends TLS.
    fn certificate_fault(&self, service: &Service, now: u64) -> Option<CertificateFault> {
        if !service.ends_tls() {
            return None;
        }
        let CertificateFacts {
            expires_at,
            problem,
            ..
        } = self.certificates.get(&service.id)?;
        match (expires_at, problem) {
            (None, problem) => Some(CertificateFault::None(problem.clone().unwrap_or_default())),
            (Some(end), _) if *end < now => Some(CertificateFault::Old(format!(
                "its certificate expired {} ago",
                format_age(now - end)
            ))),
            (Some(_), Some(problem)) => Some(CertificateFault::Old(format!(
                "{problem}; the one before stays in force"
            ))),
            (Some(_), None) => None,
        }
    }

    /// Why nobody serves one half of a port: the proxy cannot, and the kernel does not.
    fn not_held(&self, key: (Protocol, u16), own: &[&FrontendReport]) -> Option<String> {
        let is_served = own.iter().any(|r| (r.protocol, r.port) == key);
        let unheld = self.unheld.get(&key).filter(|_| !is_served)?;
        Some(format!("{}/{} is not served: {unheld}", key.1, key.0))
    }
}

fn certificate(shown: &CertificateFacts) -> CertificateItem {
    CertificateItem {
        names: shown.names.clone(),
        expires_at: shown.expires_at,
        problem: shown.problem.clone(),
    }
}

fn counters(report: &FrontendReport) -> PortCounters {
    PortCounters {
        protocol: report.protocol,
        flows: report.flows,
        flows_total: report.flows_total,
        forward_packets: report.forward_packets,
        forward_bytes: report.forward_bytes,
        reply_packets: report.reply_packets,
        reply_bytes: report.reply_bytes,
        refused: report.refused,
    }
}
