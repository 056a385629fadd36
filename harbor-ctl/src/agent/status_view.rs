//! `status`: every part's state in words, and the worst of them.

use std::{collections::BTreeMap, time::Duration};

use super::{
    engines::{Engines, Link},
    health_part,
    owner::now,
    refusals,
    registry_view::registry_part,
    reserved::Problem,
    view::Snapshot,
};
use crate::{
    control::wire::{PartStatus, PortItem, StatusReport},
    model::{DatapathReport, Mode, PortState, format_age},
    proxy::{ProxyReport, Unheld},
};

/// A certificate that ends within this time is told.
const CERTIFICATE_SOON: Duration = Duration::from_secs(30 * 86_400);

/// What to do about a datapath that sees no packet.
const ATTACH_FIX: &str = "bring an interface up, or name those that are to serve (ip -br link): \
    harbor-ctl config set node.interfaces NAME,NAME, and restart the agent";

impl Snapshot {
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
        let proxy = proxy_part(&self.engines.proxy.report());
        let mut port_states = BTreeMap::new();
        for item in ports {
            *port_states.entry(item.state.name().to_owned()).or_insert(0) += 1;
        }
        let ports = self.with_reservation(self.ports_part(ports));
        let ports = refusals::Shown::noted(self.refused.as_ref(), ports);
        let mut registry = registry_part(&self.registry, &self.condition);
        if self.leases_frozen {
            registry.text.push_str("; leases do not end meanwhile");
            registry.state = "degraded".to_owned();
        }
        let health = health_part::of(&self.health);
        let overall = worst(&[&agent, &datapath, &proxy, &ports, &health, &registry]).to_owned();
        StatusReport {
            api_version: crate::control::wire::API_VERSION.into(),
            version: version.into(),
            pid,
            uptime_s,
            config: self.config.clone(),
            agent,
            datapath,
            proxy,
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
        text.push_str(&self.expiring(ports));
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

    /// The certificate that ends first, if that is soon.
    fn expiring(&self, ports: &[PortItem]) -> String {
        let ends = |p: &PortItem| Some((p.certificate.as_ref()?.expires_at?, p.name.clone()));
        let first = ports.iter().filter_map(ends).min();
        match first.map(|(end, name)| (end.checked_sub(now()), name)) {
            Some((Some(left), name)) if left < CERTIFICATE_SOON.as_secs() => {
                format!(
                    "; the certificate of {name} expires in {}",
                    format_age(left)
                )
            }
            // What has expired is the port's own trouble.
            _ => String::new(),
        }
    }

    fn datapath_part(&self, report: &Result<Option<DatapathReport>, String>) -> PartStatus {
        match (&self.engines.kernel, report) {
            (Link::Off, _) => part(
                "ok",
                "proxy, as configured: nothing is loaded into the kernel".into(),
            ),
            (Link::Down { reason, fix, .. }, _) => self.without_datapath(reason, fix.as_deref()),
            (Link::Up(_), Err(error)) => part("down", error.clone()),
            (Link::Up(_), Ok(None)) => part("down", "it does not run".into()),
            (Link::Up(_), Ok(Some(report))) => self.loaded_part(report),
        }
    }

    /// The proxy serves what it can; whether that is enough is the operator's word.
    fn without_datapath(&self, reason: &str, fix: Option<&str>) -> PartStatus {
        let text = format!("the proxy forwards alone: {reason}");
        let wanted = "if that is meant: harbor-ctl config set datapath.mode proxy";
        match self.engines.mode {
            Mode::Auto => PartStatus {
                fix: Some(match fix {
                    Some(fix) => format!("{fix}; {wanted}"),
                    None => wanted.to_owned(),
                }),
                ..part("degraded", text)
            },
            Mode::Tc | Mode::Proxy => PartStatus {
                fix: fix.map(str::to_owned),
                ..part("down", text)
            },
        }
    }

    fn loaded_part(&self, report: &DatapathReport) -> PartStatus {
        let mut names: Vec<&str> = report.links.iter().map(|l| l.interface.as_str()).collect();
        names.dedup();
        let mut text = match names.is_empty() {
            true => "tc, attached to nothing".to_owned(),
            false => format!("tc on {}", names.join(" ")),
        };
        text.push_str(&format!("; {}", report.kernel));
        let mut state = report.state.as_str();
        let is_nowhere = names.is_empty();
        if is_nowhere && state == "ok" {
            state = "degraded";
        }
        for problem in report.problems.iter().chain(&self.not_applied) {
            text.push_str("; ");
            text.push_str(problem);
            state = if state == "ok" { "degraded" } else { state };
        }
        PartStatus {
            fix: is_nowhere.then(|| ATTACH_FIX.to_owned()),
            ..part(state, text)
        }
    }
}

/// How many numbers the proxy holds, and which it cannot; one that another process has is the
/// port's trouble, and told there.
fn proxy_part(report: &ProxyReport) -> PartStatus {
    let ProxyReport {
        held,
        connections,
        descriptors,
        descriptor_limit,
        shed,
        ..
    } = report;
    let mut text = format!(
        "{held} numbers held, {connections} connections, {descriptors} of {descriptor_limit} \
         descriptors"
    );
    if *shed > 0 {
        text.push_str(&format!(", {shed} turned away"));
    }
    let mut failed = report
        .unheld
        .iter()
        .filter(|(_, why)| *why != Unheld::Taken);
    let Some(((protocol, port), why)) = failed.next() else {
        return part("ok", text);
    };
    let others = match failed.count() {
        0 => String::new(),
        others => format!(", and {others} more"),
    };
    PartStatus {
        fix: Some(more_descriptors(report.descriptors_needed)),
        ..part(
            "degraded",
            format!("{text}; {port}/{protocol} is not held: {why}{others}"),
        )
    }
}

/// What to do where numbers have no socket for want of descriptors.
pub(super) fn more_descriptors(needed: u64) -> String {
    format!("set LimitNOFILE={needed} or more in the unit (systemctl edit harbor), then restart")
}

/// One line for systemd.
pub(super) fn headline(count: usize, engines: &Engines) -> String {
    match &engines.kernel {
        Link::Up(_) => format!("serving {count} ports"),
        Link::Off => format!("serving {count} ports by proxy"),
        Link::Down { reason, .. } => format!("serving {count} ports by proxy alone: {reason}"),
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
