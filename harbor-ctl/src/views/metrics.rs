//! Collects what metrics tell: the same that `status` and the lists show, taken when somebody asks.
//!
//! A number that is not known is left out; a zero in its place would read as a counter that began anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use super::{Readings, Snapshot, backends, process, source_ports::SourcePorts};
use crate::{
    api::{BackendItem, PortItem, RangeCounts, StatusReport},
    config::MetricsConfig,
    datapath,
    metrics::{Meters, Scrape, family, labels},
    model::{DatapathReport, PortState, Service, now},
    registry::Emptied,
};

/// What the controller says of itself beside its snapshot.
pub(crate) struct Own {
    pub(crate) config: MetricsConfig,
    pub(crate) meters: Meters,
    pub(crate) source_ports: SourcePorts,
    pub(crate) bpf: PathBuf,
}

/// Everything that metrics tell.
pub(crate) fn collect(
    snapshot: &Snapshot,
    readings: &Readings,
    report: Result<Option<DatapathReport>, String>,
    own: &Own,
) -> Scrape {
    let mut scrape = Scrape::default();
    let time = now();
    let is_own = |service: &&Arc<Service>| snapshot.is_own(service);
    let services: Vec<&Arc<Service>> = snapshot.services.iter().filter(is_own).collect();
    let ports = |service: &Arc<Service>| snapshot.port_item(service, readings, time);
    let ports: Vec<PortItem> = snapshot.services.iter().map(ports).collect();
    let status = snapshot.status(&ports, report);
    let ports: Vec<&PortItem> = ports.iter().filter(|p| snapshot.is_own_item(p)).collect();

    own.meters.keep(|id| ports.iter().any(|port| port.id == id));
    for port in &ports {
        of_port(&mut scrape, port, &own.meters);
    }
    // With ports that nobody knows by name their count is not known.
    let emptied = snapshot.condition.emptied.as_deref();
    if emptied.and_then(Emptied::nameless).is_none() {
        of_states(&mut scrape, &ports);
    }
    of_backends(&mut scrape, &services, (readings, time), own);
    of_range(&mut scrape, snapshot);
    of_datapath(&mut scrape, &status, &ports, &own.bpf);
    of_proxy(&mut scrape, snapshot);
    of_registry(&mut scrape, snapshot);
    of_leases(&mut scrape, snapshot);
    of_shares(&mut scrape, snapshot);
    for (name, part) in status.parts() {
        let part_of = labels([&name.to_lowercase()]);
        scrape.gauge(&family::PART_OK, &part_of, yes(part.state == "ok"));
    }
    let none = labels([]);
    let uptime = snapshot.uptime.as_secs_f64();
    scrape.gauge(&family::AGENT_UPTIME, &none, uptime);
    let version = env!("CARGO_PKG_VERSION");
    let build = labels([&version, &harbor_common::maps::LAYOUT]);
    scrape.gauge(&family::BUILD, &build, 1.0);
    process::add(&mut scrape);
    scrape
}

fn yes(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

fn of_port(scrape: &mut Scrape, port: &PortItem, meters: &Meters) {
    let own = labels([&port.port, &port.name]);
    let state = labels([&port.port, &port.name, &port.state.name()]);
    scrape.gauge(&family::PORT_STATE, &state, 1.0);
    scrape.gauge(&family::PORT_BACKENDS, &own, port.backends.total as f64);
    if let Some(up) = port.backends.up {
        scrape.gauge(&family::PORT_BACKENDS_UP, &own, up as f64);
    }
    scrape.count(&family::PORT_EJECTIONS, &own, meters.ejections(&port.id));
    if let Some(end) = port.certificate.as_ref().and_then(|c| c.expires_at) {
        scrape.gauge(&family::CERTIFICATE_END, &own, end as f64);
    }
    for counted in &port.counters {
        let each = labels([&port.port, &counted.protocol, &port.name]);
        scrape.gauge(&family::PORT_FLOWS, &each, counted.flows as f64);
        for (family, value) in [
            (&family::PORT_NEW_FLOWS, counted.flows_total),
            (&family::PORT_REFUSED_FLOWS, counted.refused),
            (&family::PORT_FORWARD_PACKETS, counted.forward_packets),
            (&family::PORT_FORWARD_BYTES, counted.forward_bytes),
            (&family::PORT_REPLY_PACKETS, counted.reply_packets),
            (&family::PORT_REPLY_BYTES, counted.reply_bytes),
        ] {
            scrape.count(family, &each, value);
        }
    }
}

/// Every state has its count: a rule on one that nobody is in must see a zero.
fn of_states(scrape: &mut Scrape, ports: &[&PortItem]) {
    for state in PortState::ALL {
        let count = ports.iter().filter(|port| port.state == state).count();
        scrape.gauge(&family::PORTS, &labels([&state.name()]), count as f64);
    }
}

/// One after the other: of a hundred thousand nothing is kept that is not written.
fn of_backends(
    scrape: &mut Scrape,
    services: &[&Arc<Service>],
    (readings, time): (&Readings, u64),
    own: &Own,
) {
    let fill = own.source_ports.fill(&readings.loads);
    let count: usize = services.iter().map(|service| service.backends.len()).sum();
    let is_told = count <= own.config.most_backends;
    let left_out = if is_told { 0 } else { count };
    scrape.gauge(&family::BACKENDS_LEFT_OUT, &labels([]), left_out as f64);
    let (mut states, mut is_known) = (BTreeMap::<String, usize>::new(), true);
    for service in services {
        for backend in &service.backends {
            let item = backends::backend_item((service, backend), &readings.loads, None, time);
            if is_told {
                let used = fill.get(&item.address).copied().unwrap_or_default();
                of_backend(scrape, &item, used);
            }
            is_known &= item.flows.is_some();
            *states.entry(item.state).or_default() += 1;
        }
    }
    if is_known {
        let fullest = fill.values().copied().fold(0.0, f64::max);
        scrape.gauge(&family::SOURCE_PORTS_MOST, &labels([]), fullest);
    }
    for (state, count) in states {
        scrape.gauge(&family::BACKENDS, &labels([&state]), count as f64);
    }
}

fn of_backend(scrape: &mut Scrape, backend: &BackendItem, used: f64) {
    let own = labels([&backend.port, &backend.service, &backend.address]);
    scrape.gauge(&family::BACKEND_UP, &own, yes(backend.state == "up"));
    let Some(flows) = backend.flows else { return };
    scrape.gauge(&family::BACKEND_FLOWS, &own, flows as f64);
    scrape.gauge(&family::BACKEND_SOURCE_PORTS, &own, used);
    for (family, value) in [
        (&family::BACKEND_NEW_FLOWS, backend.flows_total),
        (&family::BACKEND_FORWARD_BYTES, backend.forward_bytes),
        (&family::BACKEND_REPLY_BYTES, backend.reply_bytes),
    ] {
        scrape.count(family, &own, value.unwrap_or_default());
    }
}

fn of_range(scrape: &mut Scrape, snapshot: &Snapshot) {
    let report = snapshot.range_report();
    for (protocol, counts) in [("tcp", report.tcp), ("udp", report.udp)] {
        let RangeCounts {
            free,
            assigned,
            resting,
            held,
        } = counts;
        for (state, count) in [
            ("free", free),
            ("assigned", assigned),
            ("resting", resting),
            ("held", held),
        ] {
            let of_state = labels([&protocol, &state]);
            scrape.gauge(&family::RANGE_NUMBERS, &of_state, count as f64);
        }
    }
}

fn of_datapath(
    scrape: &mut Scrape,
    status: &StatusReport,
    ports: &[&PortItem],
    bpf: &std::path::Path,
) {
    let none = labels([]);
    let flows: Option<u64> = ports.iter().map(|port| port.flows).sum();
    if let Some(flows) = flows {
        scrape.gauge(&family::FLOW_TABLE_FLOWS, &none, flows as f64);
    }
    let Some(report) = &status.datapath_report else {
        return;
    };
    let capacity = f64::from(report.flow_capacity);
    scrape.gauge(&family::FLOW_TABLE_CAPACITY, &none, capacity);
    for count in &report.verdicts {
        let reason = labels([&count.verdict, &count.name]);
        scrape.count(&family::VERDICTS, &reason, count.packets);
    }
    let programs = datapath::programs(bpf).unwrap_or_default();
    if let Some(age) = programs.iter().filter_map(|program| program.age_s).max() {
        scrape.gauge(&family::DATAPATH_AGE, &none, age as f64);
    }
}

fn of_proxy(scrape: &mut Scrape, snapshot: &Snapshot) {
    let (report, none) = (snapshot.engines.proxy.report(), labels([]));
    for (family, value) in [
        (&family::PROXY_CONNECTIONS, report.connections),
        (&family::PROXY_NUMBERS, report.held as u64),
        (&family::PROXY_DESCRIPTORS, report.descriptors),
        (&family::PROXY_DESCRIPTOR_LIMIT, report.descriptor_limit),
    ] {
        scrape.gauge(family, &none, value as f64);
    }
    scrape.count(&family::PROXY_SHED, &none, report.shed);
    scrape.count(&family::PROXY_ENDED, &none, report.shares.ended);
}

fn of_registry(scrape: &mut Scrape, snapshot: &Snapshot) {
    let (condition, none) = (&snapshot.condition, labels([]));
    let since = condition.away.as_ref().or(condition.failed.as_ref());
    let away = since.map_or(0.0, |away| away.since.elapsed().as_secs_f64());
    let is_well = since.is_none() && !condition.cannot_record();
    scrape.gauge(&family::REGISTRY_OK, &none, yes(is_well));
    scrape.gauge(&family::REGISTRY_AWAY, &none, away);
    let mut nodes = BTreeMap::from([("up", 0), ("drained", 0), ("away", 0)]);
    for record in snapshot.nodes.iter().flatten() {
        *nodes.entry(record.state()).or_default() += 1;
    }
    for (state, count) in nodes {
        scrape.gauge(&family::NODES, &labels([&state]), f64::from(count));
    }
}

fn of_shares(scrape: &mut Scrape, snapshot: &Snapshot) {
    let shares = || snapshot.seen_pools.iter().flat_map(|pool| &pool.shares);
    let (here, elsewhere): (Vec<_>, Vec<_>) = shares().partition(|share| share.here);
    for (state, count) in [("here", here.len()), ("elsewhere", elsewhere.len())] {
        scrape.gauge(&family::SHARES, &labels([&state]), count as f64);
    }
    let none = labels([]);
    let problems = shares().filter(|share| share.problem.is_some()).count();
    scrape.gauge(&family::SHARE_PROBLEMS, &none, problems as f64);
    let copies = snapshot.copies;
    scrape.gauge(&family::COPIES_LAG, &none, copies.lag.as_secs_f64());
    for (family, value) in [
        (&family::SHARE_ARRIVALS, snapshot.share_arrivals),
        (&family::COPIES_SENT, copies.sent),
        (&family::COPIES_RECEIVED, copies.received),
        (&family::COPIES_REFUSED, copies.refused),
    ] {
        scrape.count(family, &none, value);
    }
}

fn of_leases(scrape: &mut Scrape, snapshot: &Snapshot) {
    let backends = snapshot.services.iter().flat_map(|s| &s.backends);
    let deas = backends.filter_map(|backend| Some(backend.announced.as_ref()?.dea.as_str()));
    let (mut hosts, mut instances) = (BTreeSet::new(), 0_u32);
    for dea in deas {
        hosts.insert(dea);
        instances += 1;
    }
    let none = labels([]);
    scrape.gauge(&family::APP_HOSTS, &none, hosts.len() as f64);
    scrape.gauge(&family::INSTANCES, &none, f64::from(instances));
    scrape.gauge(&family::LEASES_FROZEN, &none, yes(snapshot.leases_frozen));
}
