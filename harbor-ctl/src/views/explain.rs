//! What a dry run has found, in words: the stages in their order, and why it ended as it did. Pure.

use std::sync::Arc;

use super::{Snapshot, backends::Loads};
use crate::{
    api::{ExplainReport, ExplainedBackend, Stage},
    model::{Backend, BackendState, Engine, Finding, FoundBackend, Question, SETTINGS, Service},
};

/// The whole answer.
pub(crate) fn report(
    question: &Question,
    found: &Finding,
    (snapshot, loads): (&Snapshot, &Loads),
) -> ExplainReport {
    let service = service_of(question, found, snapshot);
    let backend = found.backend.as_ref();
    ExplainReport {
        packet: question.to_string(),
        verdict: found.verdict.clone(),
        name: found.name.clone(),
        meaning: found.meaning.clone(),
        stages: stages(found, service),
        port: service.map(super::range::named),
        backend: backend.map(|backend| explained(backend, snapshot)),
        policy: found.policy.clone(),
        interface: found.interface.clone(),
        why: [
            why(question, found, (service, snapshot)),
            without_route(found, service, loads),
            suspects(found, service, loads),
        ]
        .concat(),
    }
}

/// The service that answers, or that would if the packet were for it.
pub(crate) fn service_of<'a>(
    question: &Question,
    found: &Finding,
    snapshot: &'a Snapshot,
) -> Option<&'a Service> {
    let backend = found.backend.as_ref().map(|b| (b.protocol, b.port));
    let (protocol, port) = match found.frontend.or(backend) {
        Some(frontend) => frontend,
        None => (question.protocol, question.destination.port()),
    };
    let mut services = snapshot.services.iter().map(Arc::as_ref);
    services.find(|service| service.port == port && service.protocols.contains(protocol))
}

fn explained(found: &FoundBackend, snapshot: &Snapshot) -> ExplainedBackend {
    let mut services = snapshot.services.iter();
    let own = services.find(|s| s.port == found.port && s.protocols.contains(found.protocol));
    let known = own.and_then(|s| s.backends.iter().find(|b| b.address == found.address));
    ExplainedBackend {
        instance: known.map(|backend| backend.instance.clone()),
        address: found.address,
        state: match found.is_suspect && found.state == "active" {
            true => "suspect".into(),
            false => found.state.clone(),
        },
    }
}

fn stages(found: &Finding, service: Option<&Service>) -> Vec<Stage> {
    let steps = found.steps;
    let mut stages = Vec::new();
    let mut say = |stage: &str, text: String| {
        let stage = stage.to_owned();
        stages.push(Stage { stage, text });
    };
    if let Some(name) = &found.passed_as {
        let text = format!("the programs leave it to the host ({name}), where the proxy takes it");
        say("pass", text);
    }
    if steps.parsed {
        say("parse", "a packet that can be read".into());
    }
    if steps.quoted {
        say("icmp", "an error about a packet of a flow".into());
    }
    match found.frontend {
        Some((protocol, port)) => {
            let name = service.map_or("nobody", |service| service.name.as_str());
            say("frontend", format!("port {port}/{protocol}, of {name}"));
        }
        None if steps.reply => say("frontend", "the port is one of translated flows".into()),
        None => {}
    }
    let backend = found.backend.as_ref().map(|backend| backend.address);
    let backend = backend.map_or("a backend that is gone".to_owned(), |b| b.to_string());
    if let Some(flow) = &found.flow {
        say("flow", format!("of a flow that is {flow}, with {backend}"));
    } else if steps.admitted || found.policy.is_some() {
        say("flow", "of no flow".into());
    }
    if steps.retired {
        say(
            "flow",
            "the flow's backend takes it no longer: it ends here".into(),
        );
    }
    if steps.admitted {
        say("admit", "a packet that may open a flow".into());
    }
    if let Some(policy) = &found.policy {
        let how = match steps.affinity {
            true => "the backend that this client keeps",
            false => policy.as_str(),
        };
        say("select", format!("{backend}, by {how}"));
    }
    if steps.routed {
        let interface = found.interface.as_deref().unwrap_or("an interface");
        let how = match &found.next_hop {
            Some(hardware) => format!("to {hardware}"),
            None => "the kernel finds the neighbour".into(),
        };
        say("emit", format!("out of {interface}, {how}"));
    }
    stages
}

fn why(
    question: &Question,
    found: &Finding,
    (service, snapshot): (Option<&Service>, &Snapshot),
) -> Vec<String> {
    let mut why = Vec::new();
    match (found.name.as_str(), service) {
        ("not-ours", None) => why.push(no_port(question, snapshot)),
        ("not-ours", Some(service)) => why.push(format!(
            "{} is a port, but {} is not an address that serves ports, or the kernel does not have \
             it: harbor-ctl status",
            service.port,
            question.destination.ip()
        )),
        ("no-backend" | "other-family", Some(service)) => why.extend(of_backends(service)),
        ("denied", Some(service)) => {
            why.extend(of_settings(service, &["allowed_cidrs", "denied_cidrs"]));
        }
        ("flow-quota", Some(service)) => why.extend(of_settings(service, &["max_connections"])),
        ("client-quota", Some(service)) => {
            why.extend(of_settings(service, &["max_per_client"]));
            why.push("limits.flows_per_client holds for all ports together: harbor-ctl status".into());
            why.push("through the proxy, proxy.descriptors_per_client does".into());
        }
        ("flow-ceiling", _) => why.extend([
            "limits.flows_per_port, or limits.flows_per_organization: harbor-ctl status".to_owned(),
            "through the proxy, proxy.descriptors_per_port".to_owned(),
        ]),
        ("flows-full", _) => why.push(
            "all flows, or all descriptors of the proxy, are in use: harbor-ctl status".into(),
        ),
        ("reverse-path", _) => why.push(format!(
            "the route to {} leaves by another interface: policy.reverse_path, or rp_filter of this one",
            question.source.ip()
        )),
        ("new-flow-limit", Some(service)) => {
            why.extend(of_settings(service, &["new_per_second"]));
        }
        ("packet-limit", Some(service)) => {
            why.extend(of_settings(service, &["packets_per_second"]));
        }
        ("byte-limit", Some(service)) => why.extend(of_settings(service, &["bytes_per_second"])),
        ("reply-cap", Some(service)) => why.extend(of_settings(service, &["reply_cap_bytes"])),
        _ => {}
    }
    if let Some(backend) = found.backend.as_ref().filter(|_| found.policy.is_some()) {
        let others = service.into_iter().flat_map(|service| &service.backends);
        let others = others.filter(|other| other.address != backend.address);
        why.extend(others.filter_map(not_now));
    }
    why
}

/// Backends that could take the flow if there were a way to them: the kernel has no place for these.
fn without_route(found: &Finding, service: Option<&Service>, loads: &Loads) -> Vec<String> {
    let Some(service) = service.filter(|_| found.name == "no-backend") else {
        return Vec::new();
    };
    let is_placed = |backend: &&Backend| {
        let own = loads.of_backend(service, backend.address);
        own.iter()
            .any(|report| report.engine != Engine::Proxy && !report.is_unrouted)
    };
    let taking = service.backends.iter().filter(|b| b.takes_new_flows());
    let line = |backend: &Backend| {
        let ip = backend.address.ip();
        format!(
            "this node has no route to {}: ip route get {ip}",
            name(backend)
        )
    };
    taking
        .filter(|backend| !is_placed(backend))
        .map(line)
        .collect()
}

/// Backends that failed lately, where that had a say.
fn suspects(found: &Finding, service: Option<&Service>, loads: &Loads) -> Vec<String> {
    let (Some(service), Some(selected), Some(_)) = (service, &found.backend, &found.policy) else {
        return Vec::new();
    };
    let is_suspect = |backend: &&Backend| {
        let own = loads.of_backend(service, backend.address);
        own.iter()
            .filter(|report| report.protocol == selected.protocol)
            .any(|report| report.is_suspect || report.is_ejected)
    };
    let line = |backend: &Backend| {
        let consequence = match backend.address == selected.address {
            true => "but no other can take it",
            false => "and takes no new flows while others can",
        };
        format!("{} failed lately, {consequence}", name(backend))
    };
    service
        .backends
        .iter()
        .filter(is_suspect)
        .map(line)
        .collect()
}

fn no_port(question: &Question, snapshot: &Snapshot) -> String {
    let (port, protocol) = (question.destination.port(), question.protocol);
    let mut services = snapshot.services.iter();
    match services.find(|service| service.port == port) {
        Some(other) => format!(
            "{port} is a port of {}, and {} only",
            other.name, other.protocols
        ),
        None => format!("no service has port {port}/{protocol}"),
    }
}

/// Why none of the backends takes the flow.
fn of_backends(service: &Service) -> Vec<String> {
    if service.backends.is_empty() {
        return vec![format!("{} has no backend", service.name)];
    }
    let mut lines = Vec::new();
    if service.draining {
        lines.push(format!("{} drains: it takes no new flows", service.name));
    }
    for backend in &service.backends {
        let line = not_now(backend).unwrap_or_else(|| {
            let family = match backend.address.is_ipv4() {
                true => "IPv4",
                false => "IPv6",
            };
            format!("{} is active: {family}", name(backend))
        });
        lines.push(line);
    }
    lines
}

fn not_now(backend: &Backend) -> Option<String> {
    let state = match backend.state {
        BackendState::Active => {
            let failing = backend.failing.as_ref()?;
            return Some(format!("{} is failing: {}", name(backend), failing.reason));
        }
        BackendState::Draining => "draining",
        BackendState::Leaving { .. } => "leaving",
        BackendState::Removed => "removed",
    };
    Some(format!(
        "{} is {state}: it takes no new flows",
        name(backend)
    ))
}

fn name(backend: &Backend) -> String {
    format!("{} ({})", backend.instance, backend.address)
}

fn of_settings(service: &Service, keys: &[&str]) -> Vec<String> {
    let set = SETTINGS.iter().filter(|(key, _)| keys.contains(key));
    let lines = set.filter_map(|(key, _)| {
        let value = service.settings.shown(key)?;
        Some(format!("{} has {key}={value}", service.name))
    });
    lines.collect()
}
