//! What readers see: built from a copy of the owner's state and fresh counters, so that a slow
//! reader never holds up a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    conflicts::Held, health::HealthView, health_part, owner::Link, registry_view::registry_part,
    reserved::Problem,
};
use crate::{
    control::wire::{
        BackendCount, HeldPort, NamedPort, PartStatus, PortCounters, PortItem, RangeCounts,
        RangeReport, StatusReport,
    },
    model::{
        DatapathReport, FrontendReport, HealthDefaults, PortFacts, PortRange, PortState, Protocol,
        Service, format_age, judge_port,
    },
    registry::Condition,
};

/// Bits per second of each frontend, from clients and to them, from the last two looks at its counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Rates {
    last: BTreeMap<(Protocol, u16), ([u64; 2], Instant)>,
    bits_per_second: BTreeMap<(Protocol, u16), [u64; 2]>,
}

impl Rates {
    pub(super) fn update(&mut self, reports: &[FrontendReport], now: Instant) {
        let mut last = BTreeMap::new();
        self.bits_per_second.clear();
        for report in reports {
            let key = (report.protocol, report.port);
            let bytes = [report.forward_bytes, report.reply_bytes];
            if let Some((before, then)) = self.last.get(&key) {
                let seconds = now.duration_since(*then).as_secs_f64().max(0.001);
                let rate = |way: usize| {
                    let bits = bytes[way].saturating_sub(before[way]) as f64 * 8.0 / seconds;
                    bits as u64
                };
                self.bits_per_second.insert(key, [rate(0), rate(1)]);
            }
            last.insert(key, (bytes, now));
        }
        self.last = last;
    }

    /// From clients, and to them.
    fn of(&self, service: &Service) -> [u64; 2] {
        let rate = |&p: &Protocol| self.bits_per_second.get(&(p, service.port)).copied();
        let rates = || service.protocols.each().iter().filter_map(rate);
        [0, 1].map(|way| rates().map(|rate| rate[way]).sum())
    }
}

/// The owner's state as of one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) services: Vec<Service>,
    pub(super) resting: BTreeSet<(Protocol, u16)>,
    pub(super) link: Link,
    pub(super) not_forwarded: Option<String>,
    pub(super) held: Held,
    /// Why numbers are not kept from the host's own connections.
    pub(super) not_reserved: Option<Problem>,
    pub(super) rates: Rates,
    pub(super) range: PortRange,
    pub(super) defaults: HealthDefaults,
    pub(super) health: HealthView,
    pub(super) config: PathBuf,
    pub(super) registry: String,
    /// Why nobody answers by TCP.
    pub(super) tcp_problem: Option<String>,
    /// The registry does not say which app hosts live.
    pub(super) leases_frozen: bool,
    pub(super) condition: Condition,
    /// This node's name in a registry that others share; else empty.
    pub(super) node: String,
    pub(super) uptime: Duration,
}

impl Snapshot {
    /// One port as it is shown; `reports` are the kernel's counters, if it answered.
    pub(super) fn port_item(
        &self,
        service: &Service,
        reports: Option<&[FrontendReport]>,
        now: u64,
    ) -> PortItem {
        let own: Vec<&FrontendReport> = reports
            .unwrap_or_default()
            .iter()
            .filter(|r| r.port == service.port && service.protocols.contains(r.protocol))
            .filter(|_| self.node.is_empty() || service.node == self.node)
            .collect();
        let facts = self.facts(service, &own);
        let (state, reason) = judge_port(service, &facts);
        let active = service
            .backends
            .iter()
            .filter(|b| b.takes_new_flows())
            .count();
        let up = facts.reachable.unwrap_or(active).min(active);
        let [rate_in_bps, rate_out_bps] = self.rates.of(service);
        let is_served = matches!(self.link, Link::Up(_)) && !own.is_empty();
        PortItem {
            name: service.name.clone(),
            id: service.id.clone(),
            port: service.port,
            protocols: service.protocols.each().to_vec(),
            state,
            reason,
            path: if is_served { "tc" } else { "-" }.to_owned(),
            backends: BackendCount {
                up,
                total: service.backends.len(),
            },
            flows: own.iter().map(|r| r.flows).sum(),
            rate_bps: rate_in_bps + rate_out_bps,
            rate_in_bps,
            rate_out_bps,
            policy: service.settings.policy,
            udp_policy: service.settings.udp_policy,
            drain_s: service.settings.drain_s,
            settings: service.settings.clone(),
            node: service.node.clone(),
            created_at: service.created_at,
            age_s: now.saturating_sub(service.created_at),
            expires_in_s: service.expires_at.map(|end| end.saturating_sub(now)),
            counters: own.into_iter().map(counters).collect(),
        }
    }

    fn facts(&self, service: &Service, own: &[&FrontendReport]) -> PortFacts {
        // What its own node sees of it is not known here.
        if service.node != self.node && !self.node.is_empty() {
            return PortFacts::default();
        }
        let holder = |&p: &Protocol| self.held.get(&(p, service.port)).map(ToString::to_string);
        // A draining port gives the kernel no backend for new flows; that says nothing about them.
        let counted = own.iter().map(|r| r.backends_reachable as usize).min();
        let reachable = counted.filter(|_| !service.draining);
        PortFacts {
            not_forwarded: self.not_forwarded.clone(),
            held_by: service.protocols.each().iter().find_map(holder),
            reachable,
            all_down: self.defaults.all_down,
        }
    }

    pub(super) fn range_report(&self) -> RangeReport {
        let RangeCountsOf { tcp, udp } = self.range_counts();
        let outside = self
            .services
            .iter()
            .filter(|s| !self.range.contains(s.port));
        let held = |(key, holder): (&(Protocol, u16), &_)| HeldPort {
            port: key.1,
            protocol: key.0,
            holder: format!("{holder}"),
        };
        RangeReport {
            range: self.range.to_string(),
            numbers: self.range.len(),
            tcp,
            udp,
            outside: outside.map(named).collect(),
            held: self
                .held
                .iter()
                .map(|(k, h): (_, &crate::allocator::Holder)| held((k, h)))
                .collect(),
        }
    }

    fn range_counts(&self) -> RangeCountsOf {
        let count = |protocol: Protocol| {
            let mut counts = RangeCounts {
                free: 0,
                assigned: 0,
                resting: 0,
                held: 0,
            };
            let assigned: BTreeSet<u16> = self
                .services
                .iter()
                .filter(|s| s.protocols.contains(protocol))
                .map(|s| s.port)
                .collect();
            for port in self.range.numbers() {
                if assigned.contains(&port) {
                    counts.assigned += 1;
                } else if self.resting.contains(&(protocol, port)) {
                    counts.resting += 1;
                } else if self.held.contains_key(&(protocol, port)) {
                    counts.held += 1;
                } else {
                    counts.free += 1;
                }
            }
            counts
        };
        RangeCountsOf {
            tcp: count(Protocol::Tcp),
            udp: count(Protocol::Udp),
        }
    }

    /// Every part's state, and the worst of them.
    pub(super) fn status(
        &self,
        ports: &[PortItem],
        report: Result<Option<DatapathReport>, String>,
    ) -> StatusReport {
        let version = env!("CARGO_PKG_VERSION");
        let pid = std::process::id();
        let uptime_s = self.uptime.as_secs();
        let age = format_age(uptime_s);
        let mut agent = part(
            "ok",
            format!("{version}, up {age}, pid {pid}, {}", self.config.display()),
        );
        if let Some(problem) = &self.tcp_problem {
            agent.text.push_str("; ");
            agent.text.push_str(problem);
            agent.state = "degraded".to_owned();
            agent.fix = Some("harbor-ctl config show".to_owned());
        }
        let datapath = self.datapath_part(&report);
        let mut port_states = BTreeMap::new();
        for item in ports {
            *port_states.entry(item.state.name().to_owned()).or_insert(0) += 1;
        }
        let ports = self.with_reservation(self.ports_part(ports));
        let mut registry = registry_part(&self.registry, &self.condition);
        if self.leases_frozen {
            registry.text.push_str("; leases do not end meanwhile");
            registry.state = "degraded".to_owned();
        }
        let health = health_part::of(&self.health);
        let overall = worst(&[&agent, &datapath, &ports, &health, &registry]).to_owned();
        StatusReport {
            api_version: crate::control::wire::API_VERSION.into(),
            version: version.into(),
            pid,
            uptime_s,
            config: self.config.clone(),
            agent,
            datapath,
            ports,
            health,
            registry,
            overall,
            port_states,
            datapath_report: report.ok().flatten(),
        }
    }

    /// Numbers that the host may take from us are a fault that shows late: it is named now.
    fn with_reservation(&self, mut part: PartStatus) -> PartStatus {
        if let Some(Problem { text, fix }) = &self.not_reserved {
            part.text.push_str("; ");
            part.text.push_str(text);
            part.state = "degraded".to_owned();
            part.fix = part.fix.or_else(|| fix.clone());
        }
        part
    }

    /// How full the range is, and what is wrong with a port of this node's.
    fn ports_part(&self, ports: &[PortItem]) -> PartStatus {
        let is_inside = |port: &&PortItem| self.range.contains(port.port);
        let inside = ports.iter().filter(is_inside).count();
        let mut text = format!("{inside} of {} used", self.range.len());
        if inside < ports.len() {
            text.push_str(&format!(", {} outside the range", ports.len() - inside));
        }
        let is_bad = |p: &&PortItem| {
            !matches!(p.state, PortState::Up | PortState::Draining) && p.node == self.node
        };
        let Some(first) = ports.iter().find(is_bad) else {
            return part("ok", text);
        };
        let protocols: Vec<String> = first.protocols.iter().map(ToString::to_string).collect();
        let reason = first.reason.as_deref().unwrap_or(first.state.name());
        text.push_str(&format!(
            "; {}/{}: {reason}",
            first.port,
            protocols.join("+")
        ));
        let others = ports.iter().filter(is_bad).count() - 1;
        if others > 0 {
            text.push_str(&format!(", and {others} more"));
        }
        let fix = format!("harbor-ctl ports show {}", first.name);
        PartStatus {
            fix: Some(fix),
            ..part("degraded", text)
        }
    }

    fn datapath_part(&self, report: &Result<Option<DatapathReport>, String>) -> PartStatus {
        if let Link::Down { reason, fix, .. } = &self.link {
            return PartStatus {
                fix: fix.clone(),
                ..part("down", reason.clone())
            };
        }
        match report {
            Err(error) => part("down", error.clone()),
            Ok(None) => part("down", "it does not run".into()),
            Ok(Some(report)) => {
                let mut names: Vec<&str> =
                    report.links.iter().map(|l| l.interface.as_str()).collect();
                names.dedup();
                let mut text = match names.is_empty() {
                    true => "tc, attached to nothing".to_owned(),
                    false => format!("tc on {}", names.join(" ")),
                };
                let mut state = report.state.as_str();
                for problem in report.problems.iter().chain(&self.not_forwarded) {
                    text.push_str("; ");
                    text.push_str(problem);
                    state = if state == "ok" { "degraded" } else { state };
                }
                part(state, text)
            }
        }
    }
}

struct RangeCountsOf {
    tcp: RangeCounts,
    udp: RangeCounts,
}

/// One line for systemd.
pub(super) fn headline(count: usize, link: &Link) -> String {
    match link {
        Link::Up(_) => format!("serving {count} ports"),
        Link::Down { reason, .. } => format!("{count} ports, nothing is forwarded: {reason}"),
    }
}

pub(super) fn part(state: &str, text: String) -> PartStatus {
    PartStatus {
        state: state.to_owned(),
        text,
        fix: None,
    }
}

fn worst<'a>(parts: &[&'a PartStatus]) -> &'a str {
    let rank = |part: &&&'a PartStatus| match part.state.as_str() {
        "ok" => 0,
        "degraded" => 1,
        _ => 2,
    };
    match parts.iter().max_by_key(rank) {
        // A node whose datapath is down is itself degraded: ports stay allocated, the API answers.
        Some(part) if part.state != "ok" => "degraded",
        _ => "ok",
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

pub(super) fn named(service: &Service) -> NamedPort {
    let protocols = service.protocols.each().to_vec();
    NamedPort {
        port: service.port,
        protocols,
        name: service.name.clone(),
    }
}
