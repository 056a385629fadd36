//! Services and their backends as readers see them.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::{
    api::{BackendItem, InstanceItem, ServiceItem},
    model::{Backend, BackendReport, BackendState, Doubt, Protocol, Service},
};

/// What the engines say of every backend, by frontend and address; `None`: they do not answer.
#[derive(Debug, Default)]
pub(crate) struct Loads(Option<BTreeMap<(Protocol, u16, SocketAddr), BackendReport>>);

impl Loads {
    pub(crate) fn of(reports: Vec<BackendReport>) -> Self {
        let key = |report: &BackendReport| (report.protocol, report.port, report.address);
        let keyed = reports.into_iter().map(|report| (key(&report), report));
        Self(Some(keyed.collect()))
    }

    pub(super) fn are_known(&self) -> bool {
        self.0.is_some()
    }

    /// In no order that matters.
    pub(super) fn all(&self) -> impl Iterator<Item = &BackendReport> {
        self.0.iter().flat_map(BTreeMap::values)
    }

    /// Of each of the service's protocols.
    pub(super) fn of_backend(&self, service: &Service, address: SocketAddr) -> Vec<&BackendReport> {
        let protocols = service.protocols.each().iter();
        let found = protocols.filter_map(|p| self.0.as_ref()?.get(&(*p, service.port, address)));
        found.collect()
    }

    /// Those of the service's backends that should take new flows and are avoided, with the reason; not
    /// those that no route leads to, which engines do not count as reachable.
    pub(super) fn avoided(&self, service: &Service) -> Vec<(SocketAddr, Option<Doubt>)> {
        let taking = service.backends.iter().filter(|b| b.takes_new_flows());
        let found = taking.filter_map(|backend| {
            let own = self.of_backend(service, backend.address);
            if own.iter().any(|report| report.is_unrouted) {
                return None;
            }
            let doubt = own.iter().find_map(|report| report.doubt);
            avoided(&own).map(|_| (backend.address, doubt))
        });
        found.collect()
    }
}

/// How a backend is called that new flows avoid though its own state is up.
fn avoided(own: &[&BackendReport]) -> Option<&'static str> {
    let any = |is_so: fn(&BackendReport) -> bool| own.iter().any(|report| is_so(report));
    if any(|report| report.is_unrouted) {
        Some("unreachable")
    } else if any(|report| report.is_ejected) {
        Some("ejected")
    } else {
        any(|report| report.is_suspect).then_some("suspect")
    }
}

/// One backend of a service; `elsewhere`: who serves that, if this node does not.
pub(crate) fn backend_item(
    (service, backend): (&Service, &Backend),
    loads: &Loads,
    elsewhere: Option<&str>,
    now: u64,
) -> BackendItem {
    let item = own_backend_item(
        (service, backend),
        match elsewhere {
            None => loads,
            Some(_) => &Loads(None),
        },
        now,
    );
    match elsewhere {
        // What the record says of it holds on every node; whether clients reach it does not.
        Some(why) if item.state == "up" => BackendItem {
            state: "unknown".to_owned(),
            reason: Some(why.to_owned()),
            ..item
        },
        _ => item,
    }
}

fn own_backend_item(
    (service, backend): (&Service, &Backend),
    loads: &Loads,
    now: u64,
) -> BackendItem {
    let (state, leaves_in_s) = match backend.state {
        BackendState::Active if backend.failing.is_some() => ("failing", None),
        BackendState::Active => ("up", None),
        BackendState::Draining => ("draining", None),
        BackendState::Removed => ("removed", None),
        BackendState::Leaving { until } => ("leaving", Some(until.saturating_sub(now))),
    };
    let own = loads.of_backend(service, backend.address);
    let sum = |count: fn(&BackendReport) -> u64| {
        let all = own.iter().map(|report| count(report));
        loads.are_known().then(|| all.sum())
    };
    let avoided = match state {
        "up" => avoided(&own),
        _ => None,
    };
    BackendItem {
        port: service.port,
        service: service.name.clone(),
        instance: backend.instance.clone(),
        address: backend.address,
        reason: match (avoided, &backend.failing) {
            (Some("unreachable"), _) => Some(format!(
                "this node has no route to it: ip route get {}",
                backend.address.ip()
            )),
            (Some(_), _) => own
                .iter()
                .find_map(|report| Some(report.doubt?.reason().into())),
            (None, failing) => failing.as_ref().map(|failing| failing.reason.clone()),
        },
        path: own
            .iter()
            .filter(|report| !report.is_unrouted)
            .map(|report| report.engine.name())
            .max()
            .unwrap_or(if loads.are_known() { "-" } else { "?" })
            .into(),
        path_reason: own.iter().find_map(|report| report.handed.clone()),
        state: avoided.unwrap_or(state).to_owned(),
        leaves_in_s,
        dea: backend.announced.as_ref().map(|a| a.dea.clone()),
        weight: backend.weight,
        flows: sum(|report| report.flows),
        flows_total: sum(|report| report.flows_total),
        forward_packets: sum(|report| report.forward_packets),
        forward_bytes: sum(|report| report.forward_bytes),
        reply_packets: sum(|report| report.reply_packets),
        reply_bytes: sum(|report| report.reply_bytes),
        registered_at: backend.registered_at,
    }
}

pub(crate) fn service_item(service: &Service) -> ServiceItem {
    let instance = |backend: &Backend| InstanceItem {
        instance: backend.instance.clone(),
        address: backend.address,
        weight: backend.weight,
        state: backend.state,
        failing: backend.failing.as_deref().cloned(),
        registered_at: backend.registered_at,
    };
    ServiceItem {
        name: service.name.clone(),
        id: service.id.clone(),
        port: service.port,
        protocols: service.protocols.each().to_vec(),
        policy: service.settings.policy,
        udp_policy: service.settings.udp_policy,
        drain_s: service.settings.drain_s,
        settings: service.settings.clone(),
        draining: service.draining,
        node: service.node.clone(),
        created_at: service.created_at,
        instances: service.backends.iter().map(instance).collect(),
    }
}
