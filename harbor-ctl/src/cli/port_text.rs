//! Ports as text: rows, details, the range.

use super::output::Row;
use crate::{
    api::{CertificateItem, DeletedPort, PortItem, RangeReport},
    model::{Protocol, SETTINGS, counted, format_age, known, rate},
};

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
        "RATE_IN",
        "RATE_OUT",
        "POLICY",
        "UDP_POLICY",
        "DRAIN",
        "FLOWS_TOTAL",
        "BYTES_IN",
        "BYTES_OUT",
        "ID",
        "NODE",
        "REASON",
    ];
    const STATE: Option<&'static str> = Some("STATE");

    fn cells(&self) -> Vec<String> {
        vec![
            self.port.to_string(),
            joined(&self.protocols),
            self.name.clone(),
            format!("{}/{}", known(self.backends.up), self.backends.total),
            known(self.flows),
            rate(self.rate_bps),
            self.path.clone(),
            self.state.name().to_owned(),
            format_age(self.age_s),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let sum = |field: fn(&crate::api::PortCounters) -> u64| {
            known(
                self.flows
                    .map(|_| self.counters.iter().map(field).sum::<u64>()),
            )
        };
        vec![
            rate(self.rate_in_bps),
            rate(self.rate_out_bps),
            self.policy.name().to_owned(),
            self.udp_policy.name().to_owned(),
            format_age(u64::from(self.drain_s)),
            sum(|c| c.flows_total),
            sum(|c| c.forward_bytes),
            sum(|c| c.reply_bytes),
            self.id.clone(),
            match self.node.is_empty() {
                true => "-".to_owned(),
                false => self.node.clone(),
            },
            reason(self),
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

/// What only some ports have.
fn more(item: &PortItem) -> [(&'static str, Option<String>); 5] {
    [
        ("Public", item.public.clone()),
        ("Org", item.organization.clone()),
        ("Space", item.space.clone()),
        (
            "Apps",
            (!item.apps.is_empty()).then(|| item.apps.join(", ")),
        ),
        (
            "Full",
            (!item.full.is_empty()).then(|| item.full.join("; ")),
        ),
    ]
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
        ("Flows", flows(item)),
        ("Rate", rates(item)),
        ("Policy", policies(item)),
        ("Drain", format_age(u64::from(item.drain_s))),
        ("Age", format_age(item.age_s)),
    ];
    lines.extend(
        more(item)
            .into_iter()
            .filter_map(|(label, text)| Some((label, text?))),
    );
    let limits = limits(item);
    if !limits.is_empty() {
        lines.push(("Limits", limits));
    }
    if let Some(seconds) = item.expires_in_s {
        lines.push(("Ends", format!("by itself in {}", format_age(seconds))));
    }
    if let Some(certificate) = &item.certificate {
        lines.push(("Tls", self::certificate(certificate, item)));
    }
    for c in &item.counters {
        let refused = match c.refused {
            0 => String::new(),
            refused => format!("; {} refused", counted(refused, "flow")),
        };
        let text = format!(
            "{} in all, {} ({}) in, {} ({}) out{refused}",
            counted(c.flows_total, "flow"),
            counted(c.forward_packets, "packet"),
            counted(c.forward_bytes, "byte"),
            counted(c.reply_packets, "packet"),
            counted(c.reply_bytes, "byte")
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

/// For whom the port's certificate is, and for how long.
fn certificate(certificate: &CertificateItem, item: &PortItem) -> String {
    let Some(end) = certificate.expires_at else {
        return "no certificate".to_owned();
    };
    let now = item.created_at + item.age_s;
    let names = certificate.names.join(", ");
    match end.checked_sub(now) {
        Some(left) => format!("certificate for {names}, expires in {}", format_age(left)),
        None => format!(
            "certificate for {names}, expired {} ago",
            format_age(now - end)
        ),
    }
}

/// Why the port is not up, or why nobody here knows what it carries.
fn reason(item: &PortItem) -> String {
    let reason = item.reason.as_ref().or(item.unknown.as_ref());
    reason.cloned().unwrap_or_else(|| "-".to_owned())
}

fn flows(item: &PortItem) -> String {
    match &item.unknown {
        Some(why) => format!("{} ({why})", known(item.flows)),
        None => known(item.flows),
    }
}

fn rates(item: &PortItem) -> String {
    let (inward, outward) = (rate(item.rate_in_bps), rate(item.rate_out_bps));
    format!("{inward} in, {outward} out")
}

/// What is set besides policies and drain time, as `ports set` takes it.
fn limits(item: &PortItem) -> String {
    let has_line = ["policy", "udp_policy", "drain_s"];
    let keys = SETTINGS.iter().filter(|(key, _)| !has_line.contains(key));
    let set = keys.filter_map(|(key, _)| Some(format!("{key}={}", item.settings.shown(key)?)));
    set.collect::<Vec<_>>().join(" ")
}

fn policies(item: &PortItem) -> String {
    let one = |protocol: &Protocol| match protocol {
        Protocol::Tcp => format!("tcp {}", item.policy),
        Protocol::Udp => format!("udp {}", item.udp_policy),
    };
    item.protocols
        .iter()
        .map(one)
        .collect::<Vec<_>>()
        .join(", ")
}

pub(super) fn range_text(report: &RangeReport) -> String {
    let mut text = format!(
        "Range  {}, {}\n",
        report.range,
        counted(report.numbers, "number")
    );
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
