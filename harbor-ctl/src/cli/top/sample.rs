//! Samples what ports carry: two readings of the counters, and the time between them.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use serde::Serialize;

use crate::{
    api::{API_VERSION, BackendItem, FlowItem, List, PortItem, StatusReport},
    cli::{failure::Failure, session::Session},
    control::segment,
    model::{PortState, Protocol, counted, known, rate},
};

/// Flows that are looked at to find a port's clients; no more are read for that.
const FLOWS: usize = 1_000;

/// One port now.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TopPort {
    pub(super) port: u16,
    pub(super) protocols: Vec<Protocol>,
    pub(super) name: String,
    pub(super) state: String,
    pub(super) path: String,
    pub(super) backends_up: Option<usize>,
    pub(super) backends_total: usize,
    /// `null`, as are rates, while it is not known.
    pub(super) flows: Option<u64>,
    pub(super) rate_in_bps: Option<u64>,
    pub(super) rate_out_bps: Option<u64>,
    pub(super) new_flows_per_s: Option<f64>,
    pub(super) refused_flows_per_s: Option<f64>,
    /// Why it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) unknown: Option<String>,
}

impl TopPort {
    /// Bits per second in both directions.
    pub(super) fn carried(&self) -> u64 {
        self.rate_in_bps.unwrap_or_default() + self.rate_out_bps.unwrap_or_default()
    }
}

/// Dropped packets of one reason.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Dropped {
    pub(super) reason: String,
    pub(super) packets_per_s: f64,
}

/// All ports now.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct TopReport {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// What `status` says of it all.
    pub(super) overall: String,
    pub(super) uptime_s: u64,
    /// `null`, as are rates, while some are not known.
    pub(super) flows: Option<u64>,
    pub(super) rate_in_bps: Option<u64>,
    pub(super) rate_out_bps: Option<u64>,
    pub(super) new_flows_per_s: Option<f64>,
    /// Of reasons that were met since the last look.
    pub(super) drops: Vec<Dropped>,
    pub(super) items: Vec<TopPort>,
}

/// A port's backends, and the clients that have most flows.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    pub(super) backends: Vec<BackendItem>,
    pub(super) clients: Vec<(String, usize)>,
}

/// Counters of a look: begun and refused flows by port, and dropped packets by reason.
#[derive(Debug, Default)]
struct Counted {
    flows: HashMap<String, [u64; 2]>,
    drops: BTreeMap<String, u64>,
}

/// Remembers the last look.
#[derive(Debug, Default)]
pub(super) struct Sampler(Option<(Instant, Counted)>);

impl Sampler {
    /// Asks, and compares with the last time.
    pub(super) async fn look(&mut self, session: &Session) -> Result<TopReport, Failure> {
        let client = session.client()?;
        let status: StatusReport = client.get("/v1/status").await?;
        let ports: List<PortItem> = client.list("/v1/ports", None).await?;
        let now = Instant::now();
        let counted = counters_of(&status, &ports.items);
        let (elapsed, before) = match &self.0 {
            Some((then, before)) => (now.duration_since(*then).as_secs_f64(), before),
            None => (f64::INFINITY, &counted),
        };
        let report = report(
            &status,
            &ports.items,
            (&counted, before),
            elapsed.max(0.001),
        );
        self.0 = Some((now, counted));
        Ok(report)
    }
}

fn counters_of(status: &StatusReport, ports: &[PortItem]) -> Counted {
    let flows = |port: &PortItem| {
        let sum =
            |count: fn(&crate::api::PortCounters) -> u64| port.counters.iter().map(count).sum();
        (
            port.id.clone(),
            [sum(|c| c.flows_total), sum(|c| c.refused)],
        )
    };
    let report = status.datapath_report.iter();
    let drops = report
        .flat_map(|report| &report.verdicts)
        .filter(|count| count.verdict == "drop")
        .map(|count| (count.name.clone(), count.packets));
    Counted {
        flows: ports
            .iter()
            .filter(|port| port.flows.is_some())
            .map(flows)
            .collect(),
        drops: drops.collect(),
    }
}

fn report(
    status: &StatusReport,
    ports: &[PortItem],
    (counted, before): (&Counted, &Counted),
    elapsed: f64,
) -> TopReport {
    // What began anew meanwhile has begun at nothing.
    let grown = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now) as f64 / elapsed;
    let item = |port: &PortItem| {
        let now = counted.flows.get(&port.id).copied();
        // A port that was not there before, or was not known, is not compared with nothing.
        let then = before.flows.get(&port.id).copied().or(now);
        let both = now.zip(then);
        TopPort {
            port: port.port,
            protocols: port.protocols.clone(),
            name: port.name.clone(),
            state: port.state.name().to_owned(),
            path: port.path.clone(),
            backends_up: port.backends.up,
            backends_total: port.backends.total,
            flows: port.flows,
            rate_in_bps: port.rate_in_bps,
            rate_out_bps: port.rate_out_bps,
            new_flows_per_s: both.map(|(now, then)| grown(now[0], then[0])),
            refused_flows_per_s: both.map(|(now, then)| grown(now[1], then[1])),
            unknown: port.unknown.clone(),
        }
    };
    let mut items: Vec<TopPort> = ports.iter().map(item).collect();
    items.sort_by_key(|port| (std::cmp::Reverse(port.carried()), port.port));
    let drops = counted.drops.iter().map(|(reason, packets)| {
        let then = before.drops.get(reason).copied().unwrap_or(*packets);
        (reason.clone(), grown(*packets, then))
    });
    let drops = drops.filter(|(_, rate)| *rate > 0.0);
    let drops = drops.map(|(reason, packets_per_s)| Dropped {
        reason,
        packets_per_s,
    });
    TopReport {
        api_version: API_VERSION.into(),
        kind: "TopReport".into(),
        overall: status.overall.clone(),
        uptime_s: status.uptime_s,
        flows: sum(&items, |port| port.flows),
        rate_in_bps: sum(&items, |port| port.rate_in_bps),
        rate_out_bps: sum(&items, |port| port.rate_out_bps),
        new_flows_per_s: sum(&items, |port| port.new_flows_per_s),
        drops: drops.collect(),
        items,
    }
}

/// Of the ports that are known: what other nodes serve is not. `None` if none is.
fn sum<T: std::iter::Sum>(items: &[TopPort], of: fn(&TopPort) -> Option<T>) -> Option<T> {
    let mut known = items.iter().filter_map(of).peekable();
    (known.peek().is_some() || items.is_empty()).then(|| known.sum())
}

/// What stands behind one port, and who comes.
pub(super) async fn detail(session: &Session, port: u16) -> Result<Detail, Failure> {
    let client = session.client()?;
    let port = port.to_string();
    let backends: List<BackendItem> = client.list("/v1/backends", Some(&port)).await?;
    let path = format!("/v1/flows/stream?port={}&limit={FLOWS}", segment(&port));
    let mut clients = BTreeMap::<String, usize>::new();
    let count = |item: FlowItem| {
        let client = item.flow.client.ip().to_string();
        *clients.entry(client).or_default() += 1;
        Ok::<_, Failure>(())
    };
    client.lines(&path, count).await?;
    let mut clients: Vec<(String, usize)> = clients.into_iter().collect();
    clients.sort_by_key(|(_, flows)| std::cmp::Reverse(*flows));
    Ok(Detail {
        backends: backends.items,
        clients,
    })
}

/// Columns of the table, and one port's cells.
pub(super) const HEADINGS: [&str; 9] = [
    "PORT", "PROTO", "NAME", "STATE", "BACKENDS", "FLOWS", "NEW/S", "IN", "OUT",
];

pub(super) fn cells(port: &TopPort) -> [String; 9] {
    let protocols: Vec<String> = port.protocols.iter().map(ToString::to_string).collect();
    [
        port.port.to_string(),
        protocols.join("+"),
        port.name.clone(),
        port.state.clone(),
        format!("{}/{}", known(port.backends_up), port.backends_total),
        known(port.flows),
        per_s(port.new_flows_per_s),
        rate(port.rate_in_bps),
        rate(port.rate_out_bps),
    ]
}

fn per_s(rate: Option<f64>) -> String {
    known(rate.map(|rate| format!("{rate:.0}")))
}

/// The first line: all ports together.
pub(super) fn summary(report: &TopReport) -> String {
    let up = PortState::Up.name();
    let up = report.items.iter().filter(|port| port.state == up).count();
    format!(
        "Harbor {}, {up} of {} up, {}, {} new/s, in {}, out {}",
        report.overall,
        counted(report.items.len(), "port"),
        report.flows.map_or_else(
            || "flows not known".to_owned(),
            |flows| counted(flows, "flow")
        ),
        per_s(report.new_flows_per_s),
        rate(report.rate_in_bps),
        rate(report.rate_out_bps),
    )
}

/// The second line: what is dropped.
pub(super) fn drops(report: &TopReport) -> String {
    let one = |drop: &Dropped| format!("{} {:.0}/s", drop.reason, drop.packets_per_s);
    let all: Vec<String> = report.drops.iter().map(one).collect();
    match all.is_empty() {
        true => "nothing is dropped".to_owned(),
        false => format!("dropped: {}", all.join(", ")),
    }
}

/// What `--once` prints for people.
pub(super) fn text(report: &TopReport) -> String {
    let mut text = format!("{}\n{}\n\n", summary(report), drops(report));
    let line = |cells: [&str; 9]| {
        let [
            port,
            proto,
            name,
            state,
            backends,
            flows,
            new,
            rate_in,
            rate_out,
        ] = cells;
        format!(
            "{port:<6} {proto:<8} {name:<20} {state:<9} {backends:<8} {flows:>7} {new:>6} {rate_in:>12} {rate_out:>12}\n"
        )
    };
    text.push_str(&line(HEADINGS));
    for port in &report.items {
        let cells = cells(port);
        text.push_str(&line(cells.each_ref().map(String::as_str)));
    }
    text
}
