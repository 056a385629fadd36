//! Ports as people read them: rows, details, the range.

use super::output::{Row, rate};
use crate::{
    control::wire::{DeletedPort, PortItem, RangeReport},
    model::{Policy, Protocol, format_age},
};

fn policy_name(policy: Policy) -> &'static str {
    match policy {
        Policy::RoundRobin => "round-robin",
        Policy::First => "first",
    }
}

pub(super) fn joined(protocols: &[Protocol]) -> String {
    protocols
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("+")
}

impl Row for PortItem {
    const HEADINGS: &'static [&'static str] = &[
        "PORT", "PROTO", "NAME", "BACKENDS", "FLOWS", "RATE", "PATH", "STATE", "AGE",
    ];
    const WIDE: &'static [&'static str] = &[
        "POLICY",
        "UDP_POLICY",
        "DRAIN",
        "FLOWS_TOTAL",
        "BYTES_IN",
        "BYTES_OUT",
        "ID",
    ];
    const STATE: Option<&'static str> = Some("STATE");

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            joined(&self.protocols),
            self.name.clone(),
            format!("{}/{}", self.backends.up, self.backends.total),
            self.flows.to_string(),
            rate(self.rate_bps),
            self.path.clone(),
            self.state.name().to_owned(),
            format_age(self.age_s),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let sum = |field: fn(&crate::control::wire::PortCounters) -> u64| {
            self.counters.iter().map(field).sum::<u64>().to_string()
        };
        vec![
            policy_name(self.policy).to_owned(),
            policy_name(self.udp_policy).to_owned(),
            format_age(u64::from(self.drain_s)),
            sum(|c| c.flows_total),
            sum(|c| c.forward_bytes),
            sum(|c| c.reply_bytes),
            self.id.clone(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

impl Row for DeletedPort {
    const HEADINGS: &'static [&'static str] = &["PORT", "PROTO", "NAME"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            joined(&self.protocols),
            self.name.clone(),
        ]
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

pub(super) fn details(item: &PortItem) -> String {
    let reason = item
        .reason
        .as_deref()
        .map(|r| format!(" ({r})"))
        .unwrap_or_default();
    let mut lines = vec![
        ("Port", format!("{}/{}", item.port, joined(&item.protocols))),
        ("Name", item.name.clone()),
        ("Id", item.id.clone()),
        ("State", format!("{}{reason}", item.state.name())),
        ("Path", item.path.clone()),
        ("Flows", item.flows.to_string()),
        ("Rate", rate(item.rate_bps)),
        ("Policy", policies(item)),
        ("Drain", format_age(u64::from(item.drain_s))),
        ("Age", format_age(item.age_s)),
    ];
    for c in &item.counters {
        let text = format!(
            "{} flows in all, {} packets ({} bytes) in, {} packets ({} bytes) out",
            c.flows_total, c.forward_packets, c.forward_bytes, c.reply_packets, c.reply_bytes
        );
        let label = match c.protocol {
            Protocol::Tcp => "Tcp",
            Protocol::Udp => "Udp",
        };
        lines.push((label, text));
    }
    let line =
        |(label, text): &(&str, String)| format!("{label:<8}  {}\n", crate::model::escaped(text));
    lines.iter().map(line).collect()
}

fn policies(item: &PortItem) -> String {
    let one = |protocol: &Protocol| match protocol {
        Protocol::Tcp => format!("tcp {}", policy_name(item.policy)),
        Protocol::Udp => format!("udp {}", policy_name(item.udp_policy)),
    };
    item.protocols
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn range_text(report: &RangeReport) -> String {
    let mut text = format!("Range  {}, {} numbers\n", report.range, report.numbers);
    for (name, c) in [("TCP", report.tcp), ("UDP", report.udp)] {
        text.push_str(&format!(
            "{name}    {} free, {} assigned, {} resting, {} held by other processes\n",
            c.free, c.assigned, c.resting, c.held
        ));
    }
    for port in &report.outside {
        let (number, protocols) = (port.port, joined(&port.protocols));
        text.push_str(&format!(
            "outside the range, still valid: {number}/{protocols} {}\n",
            port.name
        ));
    }
    for held in &report.held {
        let holder = crate::model::escaped(&held.holder);
        text.push_str(&format!(
            "held: {}/{} by {holder}\n",
            held.port, held.protocol
        ));
    }
    text
}
