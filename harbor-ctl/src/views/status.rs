//! `status`: the state of every part, and the worst of them.

use std::collections::BTreeMap;

use super::{
    Snapshot,
    facts::{NotReserved, RefusedAnnouncements},
    health,
    registry::registry_part,
    status_parts, status_proxy,
};
use crate::{
    api::{PartStatus, PortItem, StatusReport},
    forwarding::{Engines, KernelEngine, Remains},
    model::{DatapathReport, Mode, PortState, counted, format_age},
    telemetry,
};

/// What to do about a datapath that sees no packet.
const ATTACH_FIX: &str = "bring an interface up, or name those that are to serve (ip -br link): \
    harbor-ctl config set node.interfaces NAME,NAME, and restart the agent";

/// What to do about a thread that hangs; what is in the kernel forwards without it.
const SILENT_FIX: &str = "established and new flows go on by what the kernel has; if it lasts: \
    harbor-ctl support bundle, then systemctl restart harbor";
/// What is wrong with a listener may stand there.
const SHOW: &str = "harbor-ctl config show";

impl Snapshot {
    /// Every part's state, and the worst of them.
    pub(crate) fn status(
        &self,
        ports: &[PortItem],
        report: Result<Option<DatapathReport>, String>,
    ) -> StatusReport {
        let version = env!("CARGO_PKG_VERSION");
        let pid = std::process::id();
        let uptime_s = self.uptime.as_secs();
        let file = self.config.display().to_string();
        let agent = format!("{version}, up {}, pid {pid}, {file}", format_age(uptime_s));
        let datapath = self.datapath_part(&report);
        let proxy = status_proxy::proxy_part(&self.engines.proxy.report());
        let proxy = self.unless_nameless(proxy);
        let mut port_states = BTreeMap::new();
        for item in ports {
            *port_states.entry(item.state.name().to_owned()).or_insert(0) += 1;
        }
        let (own, report) = (self.own(ports), report.ok().flatten());
        let mut status = StatusReport {
            api_version: crate::api::API_VERSION.into(),
            version: version.into(),
            pid,
            uptime_s,
            config: self.config.clone(),
            agent: agent_part(agent),
            datapath,
            proxy,
            ports: self.unless_nameless(self.with_reservation(self.ports_part(ports))),
            flows: self.unless_nameless(self.flows_part(&own, report.as_ref())),
            certificates: status_parts::certificates_part(
                (&self.certificates, self.certificates_unanswered),
                &own,
            ),
            health: health::of(&self.health),
            discovery: RefusedAnnouncements::noted(self.refused.as_ref(), self.discovery_part()),
            registry: self.registry_status(),
            nodes: status_parts::nodes_part(&self.node, self.nodes.as_ref()),
            pools: status_parts::pools_part(&self.seen_pools),
            control: self.control.part("control.listen", SHOW),
            gateway: self.gateway.part("gateway.password_file", SHOW),
            metrics: self.metrics.part("metrics.listen", SHOW),
            console: self.console.part("console.listen", SHOW),
            configuration: status_parts::configuration_part(&file, &self.configuration),
            events: events_part(&self.events),
            overall: String::new(),
            port_states,
            datapath_report: report,
        };
        status.overall = worst(&status).to_owned();
        status
    }

    fn registry_status(&self) -> PartStatus {
        let mut registry = registry_part(&self.registry, &self.condition);
        if self.leases_frozen {
            registry.text.push_str("; leases do not end meanwhile");
            registry.state = "degraded".to_owned();
        }
        registry
    }

    /// Those that this node serves.
    fn own<'a>(&self, ports: &'a [PortItem]) -> Vec<&'a PortItem> {
        let own = ports.iter().filter(|port| self.is_own_item(port));
        own.collect()
    }

    /// Numbers that the host may take from us are a fault that shows late: it is named now.
    fn with_reservation(&self, mut part: PartStatus) -> PartStatus {
        if let Some(NotReserved { text, fix }) = &self.not_reserved {
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
            !matches!(p.state, PortState::Up | PortState::Draining) && self.is_own_item(p)
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
        match (&self.engines.kernel, report) {
            (KernelEngine::Off(remains), _) => without_programs(remains),
            (
                KernelEngine::Down {
                    reason, fix, left, ..
                },
                _,
            ) => self.without_datapath(
                proxied_text(reason, left),
                proxied_fix(fix.as_deref(), left),
            ),
            (KernelEngine::Up(_), Err(error)) => PartStatus {
                fix: Some(SILENT_FIX.into()),
                ..part("down", error.clone())
            },
            (KernelEngine::Up(_), Ok(None)) => part("down", "it does not run".into()),
            (KernelEngine::Up(_), Ok(Some(report))) => self.loaded_part(report),
        }
    }

    /// The proxy serves what it can; whether that is enough is the operator's word.
    fn without_datapath(&self, text: String, fix: Option<String>) -> PartStatus {
        let wanted = "if that is meant: harbor-ctl config set datapath.mode proxy";
        match self.engines.mode {
            Mode::Auto => PartStatus {
                fix: Some(match fix {
                    Some(fix) => format!("{fix}; {wanted}"),
                    None => wanted.to_owned(),
                }),
                ..part("degraded", text)
            },
            Mode::Tc | Mode::Xdp | Mode::Proxy => PartStatus {
                fix,
                ..part("down", text)
            },
        }
    }

    fn loaded_part(&self, report: &DatapathReport) -> PartStatus {
        let of = |is_xdp: bool| {
            let links = report
                .links
                .iter()
                .filter(|link| (link.kind == "xdp") == is_xdp);
            let mut names: Vec<&str> = links.map(|link| link.interface.as_str()).collect();
            names.dedup();
            names
        };
        let (names, xdp) = (of(false), of(true));
        let mut text = match names.is_empty() {
            true => "tc, attached to nothing".to_owned(),
            false => format!("tc on {}", names.join(" ")),
        };
        if !xdp.is_empty() {
            text.push_str(&format!(", xdp native on {}", xdp.join(" ")));
        }
        if report.traced {
            text.push_str("; somebody traces: all goes by TC");
        }
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

/// Who forwards when the programs could not be started, and why they could not.
fn proxied_text(reason: &str, left: &[String]) -> String {
    match left {
        [] => format!("the proxy forwards alone: {reason}"),
        left => format!(
            "the proxy forwards, and so do programs of an earlier agent, as it told them last, on {}: {reason}",
            left.join(", ")
        ),
    }
}

fn proxied_fix(fix: Option<&str>, left: &[String]) -> Option<String> {
    const OFF: &str = "take those programs off: harbor-ctl datapath detach";
    match (fix, left) {
        (fix, []) => fix.map(str::to_owned),
        (Some(fix), _) => Some(format!("{fix}; or {OFF}")),
        (None, _) => Some(OFF.to_owned()),
    }
}

/// The datapath where the operator wants none.
fn without_programs(remains: &Remains) -> PartStatus {
    match remains {
        Remains::Nothing => part(
            "ok",
            "proxy, as configured: nothing is loaded into the kernel".into(),
        ),
        Remains::Unseen(reason) => part(
            "ok",
            format!("proxy, as configured; what is in the kernel is not seen from here: {reason}"),
        ),
        Remains::Stuck(reason) => PartStatus {
            fix: Some("harbor-ctl datapath detach, then restart the agent".into()),
            ..part(
                "degraded",
                format!(
                    "proxy, as configured, but programs of an earlier agent may still forward: {reason}"
                ),
            )
        },
    }
}

/// One line for systemd.
pub(crate) fn headline(count: usize, engines: &Engines) -> String {
    let ports = counted(count, "port");
    match &engines.kernel {
        KernelEngine::Up(_) => format!("serving {ports}"),
        KernelEngine::Off(_) => format!("serving {ports} by proxy"),
        KernelEngine::Down { reason, .. } => format!("serving {ports} by proxy alone: {reason}"),
    }
}

/// Who the agent is, and whether its logs are written.
fn agent_part(text: String) -> PartStatus {
    match telemetry::lacking() {
        None => part("ok", text),
        Some(lacking) => PartStatus {
            fix: Some(
                "make [paths].log writable, or make room in it: what is missing is tried again every second"
                    .into(),
            ),
            ..part("degraded", format!("{text}; {lacking}"))
        },
    }
}

pub(super) fn part(state: &str, text: String) -> PartStatus {
    PartStatus {
        state: state.to_owned(),
        text,
        fix: None,
    }
}

/// How many events are kept, and whether the disk has them.
fn events_part((kept, problem): &(usize, Option<String>)) -> PartStatus {
    let text = format!("{kept} kept");
    match problem {
        None => part("ok", text),
        Some(problem) => PartStatus {
            fix: Some("make room in, or repair, the state directory".into()),
            ..part(
                "degraded",
                format!("{text}; the last are not on disk: {problem}"),
            )
        },
    }
}

/// A node whose datapath is down is itself degraded: ports stay allocated, the API answers.
fn worst(report: &StatusReport) -> &'static str {
    match report.parts().iter().all(|(_, part)| part.state == "ok") {
        true => "ok",
        false => "degraded",
    }
}
