//! The word that `ports list` shows for a port: what it can do for a client now.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    doubt::Doubt,
    health::AllDown,
    service::{BackendState, Failing, Service},
};

/// What a port can do for a client now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PortState {
    Up,
    Degraded,
    Down,
    Draining,
    Conflict,
    /// Another node serves it, and how that fares is not known here.
    Unknown,
}

impl PortState {
    pub(crate) const ALL: [Self; 6] = [
        Self::Up,
        Self::Degraded,
        Self::Down,
        Self::Draining,
        Self::Conflict,
        Self::Unknown,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
        }
    }
}

/// What is known about a port besides its service.
#[derive(Clone, Debug, Default)]
pub(crate) struct PortFacts {
    /// Why the kernel does not serve it, if it does not.
    pub(crate) not_forwarded: Option<String>,
    /// Who else holds its number.
    pub(crate) held_by: Option<String>,
    /// Backends that the kernel can reach; `None` while unknown.
    pub(crate) reachable: Option<usize>,
    /// Backends that clients' flows have met with failure, and how: new flows avoid them.
    pub(crate) avoided: Vec<(SocketAddr, Option<Doubt>)>,
    /// What is wrong with its certificates.
    pub(crate) certificate: Option<CertificateFault>,
    /// What becomes of new flows when every backend is failing.
    pub(crate) all_down: AllDown,
}

/// Why a port that ends TLS does not do it as it should, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CertificateFault {
    /// It has none: nobody is served.
    None(String),
    /// What it serves with should have been replaced.
    Old(String),
}

/// A port's state, and the reason when it is not up.
pub(crate) fn judge_port(service: &Service, facts: &PortFacts) -> (PortState, Option<String>) {
    let backends = || service.backends.iter();
    let well = backends().filter(|b| b.takes_new_flows()).count();
    let active = || backends().filter(|b| b.state == BackendState::Active);
    let taking = facts.taking(service);
    if let Some(holder) = &facts.held_by {
        return (PortState::Conflict, Some(format!("held by {holder}")));
    }
    if let Some(reason) = &facts.not_forwarded {
        return (PortState::Down, Some(reason.clone()));
    }
    if let Some(CertificateFault::None(reason)) = &facts.certificate {
        return (PortState::Down, Some(reason.clone()));
    }
    if service.draining {
        return (PortState::Draining, Some("takes no new flows".into()));
    }
    if service.backends.is_empty() {
        return (PortState::Down, Some("no backend".into()));
    }
    if active().next().is_none() {
        return none_active(service);
    }
    if well == 0 {
        return all_failing(service, facts.all_down);
    }
    if facts.avoided.len() >= well {
        return all_avoided(&facts.avoided);
    }
    if taking == 0 {
        return (PortState::Down, Some("no backend has a route".into()));
    }
    // Those that were told to take nothing are missed by nobody.
    let wanted = active().count();
    if taking < wanted {
        let text = format!("{taking} of {wanted} backends take new flows");
        return (PortState::Degraded, Some(text));
    }
    match &facts.certificate {
        Some(CertificateFault::Old(reason)) => (PortState::Degraded, Some(reason.clone())),
        _ => (PortState::Up, None),
    }
}

/// The same of a port that another node serves, by its record alone: what that node sees of its backends
/// is not in it. `why`: who serves it.
pub(crate) fn judge_elsewhere(service: &Service, why: &str) -> (PortState, Option<String>) {
    let mut active = service.backends.iter();
    if service.draining {
        return (PortState::Draining, Some("takes no new flows".into()));
    }
    if service.backends.is_empty() {
        return (PortState::Down, Some("no backend".into()));
    }
    if !active.any(|b| b.state == BackendState::Active) {
        return none_active(service);
    }
    let failing = service.backends.iter().filter(|b| b.failing.is_some());
    let text = match failing.count() {
        0 => why.to_owned(),
        failing => {
            let all = service.backends.len();
            format!("{why}; by its record, {failing} of {all} backends fail")
        }
    };
    (PortState::Unknown, Some(text))
}

impl PortFacts {
    /// How many of its backends new flows go to.
    pub(crate) fn taking(&self, service: &Service) -> usize {
        let well = service.backends.iter().filter(|b| b.takes_new_flows());
        let well = well.count();
        let not_avoided = well.saturating_sub(self.avoided.len());
        self.reachable.unwrap_or(well).min(not_avoided)
    }
}

/// A drain is planned; that nobody is left is not.
fn none_active(service: &Service) -> (PortState, Option<String>) {
    let mut backends = service.backends.iter();
    match backends.any(|b| b.state == BackendState::Draining) {
        true => (PortState::Draining, Some("every backend drains".into())),
        false => (PortState::Down, Some("every backend is leaving".into())),
    }
}

fn all_failing(service: &Service, all_down: AllDown) -> (PortState, Option<String>) {
    let mut backends = service.backends.iter();
    let failing = backends.find_map(|b| Some((b.address, b.failing.as_deref()?)));
    let text = match failing {
        Some((address, Failing { reason, .. })) => {
            format!("every backend is failing ({address}: {reason})")
        }
        None => "every backend is failing".to_owned(),
    };
    match all_down {
        AllDown::UseLast => (
            PortState::Degraded,
            Some(format!("{text}; the last known are used")),
        ),
        AllDown::Refuse => (PortState::Down, Some(text)),
    }
}

/// Clients are sent there all the same, for there is nobody else.
fn all_avoided(avoided: &[(SocketAddr, Option<Doubt>)]) -> (PortState, Option<String>) {
    // A closed port answers a SYN with a reset and a datagram with ICMP unreachable.
    let is_refused = |(_, doubt): &(_, Option<Doubt>)| {
        matches!(doubt, Some(Doubt::Refused | Doubt::Unreachable))
    };
    let named = |(address, doubt): &(SocketAddr, Option<Doubt>)| match doubt {
        Some(doubt) => format!("{address}: {}", doubt.reason()),
        None => address.to_string(),
    };
    let first = avoided.first().map(named).unwrap_or_default();
    match avoided.iter().all(is_refused) {
        true => (PortState::Down, Some(format!("nobody listens ({first})"))),
        false => (
            PortState::Degraded,
            Some(format!("every backend fails clients' flows ({first})")),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    fn with_backends(count: u8) -> Service {
        let mut web = service("web", 35000, Protocols::Tcp);
        for last in 0..count {
            let address = SocketAddr::new([10, 0, 0, last].into(), 80);
            web.add_backend(address, None, 1).unwrap();
        }
        web
    }

    #[test]
    fn a_port_whose_backends_all_fail_says_what_becomes_of_its_clients() {
        let mut web = with_backends(2);
        let reason = "connection refused".to_owned();
        let failing = Failing { since: 1, reason };
        web.backends[0].failing = Some(Box::new(failing.clone()));
        let mut facts = PortFacts::default();
        assert_eq!(judge_port(&web, &facts).0, PortState::Degraded);
        web.backends[1].failing = Some(Box::new(failing));
        let (state, reason) = judge_port(&web, &facts);
        assert_eq!(state, PortState::Degraded);
        assert!(reason.unwrap().contains("the last known are used"));
        facts.all_down = AllDown::Refuse;
        let (state, reason) = judge_port(&web, &facts);
        assert_eq!(state, PortState::Down);
        assert!(reason.unwrap().contains("10.0.0.0:80: connection refused"));
    }

    #[test]
    fn the_worst_fact_names_the_state() {
        let facts = PortFacts::default();
        assert_eq!(judge_port(&with_backends(0), &facts).0, PortState::Down);
        assert_eq!(judge_port(&with_backends(2), &facts).0, PortState::Up);

        let mut leaving = with_backends(2);
        leaving.drain_backend("10.0.0.0:80").unwrap();
        assert_eq!(judge_port(&leaving, &facts).0, PortState::Up);
        leaving.drain_backend("10.0.0.1:80").unwrap();
        assert_eq!(judge_port(&leaving, &facts).0, PortState::Draining);
        for backend in &mut leaving.backends {
            backend.state = BackendState::Leaving { until: 9 };
        }
        assert_eq!(judge_port(&leaving, &facts).0, PortState::Down);

        let unreachable = PortFacts {
            reachable: Some(1),
            ..PortFacts::default()
        };
        assert_eq!(
            judge_port(&with_backends(2), &unreachable).0,
            PortState::Degraded
        );
        let none = PortFacts {
            reachable: Some(0),
            ..PortFacts::default()
        };
        assert_eq!(judge_port(&with_backends(2), &none).0, PortState::Down);

        let mut draining = with_backends(1);
        draining.draining = true;
        assert_eq!(judge_port(&draining, &facts).0, PortState::Draining);

        let unserved = PortFacts {
            not_forwarded: Some("x".into()),
            ..PortFacts::default()
        };
        assert_eq!(judge_port(&draining, &unserved).0, PortState::Down);
        let without = |certificate| PortFacts {
            certificate: Some(certificate),
            ..PortFacts::default()
        };
        let none = without(CertificateFault::None("no certificate".into()));
        assert_eq!(judge_port(&with_backends(2), &none).0, PortState::Down);
        let old = without(CertificateFault::Old("expired".into()));
        assert_eq!(judge_port(&with_backends(2), &old).0, PortState::Degraded);
        let held = PortFacts {
            held_by: Some("pid 1".into()),
            ..unserved
        };
        assert_eq!(judge_port(&draining, &held).0, PortState::Conflict);
    }

    #[test]
    fn of_a_port_of_another_node_the_record_alone_is_believed() {
        let judged = |service: &Service| judge_elsewhere(service, "node two serves it");
        let mut web = with_backends(2);
        let unknown = |text: &str| (PortState::Unknown, Some(text.to_owned()));
        assert_eq!(judged(&web), unknown("node two serves it"));
        let reason = "connection refused".to_owned();
        web.backends[0].failing = Some(Box::new(Failing { since: 1, reason }));
        let text = "node two serves it; by its record, 1 of 2 backends fail";
        assert_eq!(judged(&web), unknown(text));
        assert_eq!(judged(&with_backends(0)).0, PortState::Down);
        for backend in &mut web.backends {
            backend.state = BackendState::Leaving { until: 9 };
        }
        assert_eq!(judged(&web).0, PortState::Down);
        web.draining = true;
        assert_eq!(judged(&web).0, PortState::Draining);
    }

    #[test]
    fn a_port_says_that_nobody_listens_and_counts_nobody_whom_clients_miss() {
        let address = |last: u8| SocketAddr::new([10, 0, 0, last].into(), 80);
        let with = |avoided: &[(u8, Doubt)]| PortFacts {
            avoided: avoided
                .iter()
                .map(|(n, doubt)| (address(*n), Some(*doubt)))
                .collect(),
            ..PortFacts::default()
        };
        let two = with_backends(2);
        let one_away = with(&[(0, Doubt::Silent)]);
        let (state, reason) = judge_port(&two, &one_away);
        assert_eq!(state, PortState::Degraded);
        assert_eq!(reason.unwrap(), "1 of 2 backends take new flows");
        assert_eq!(one_away.taking(&two), 1);
        let both = with(&[(0, Doubt::Refused), (1, Doubt::Refused)]);
        let (state, reason) = judge_port(&two, &both);
        assert_eq!(state, PortState::Down);
        assert!(reason.unwrap().starts_with("nobody listens (10.0.0.0:80: "));
        assert_eq!(both.taking(&two), 0);
        let datagrams = with(&[(0, Doubt::Unreachable), (1, Doubt::Refused)]);
        let (state, reason) = judge_port(&two, &datagrams);
        assert_eq!(state, PortState::Down);
        assert!(reason.unwrap().starts_with("nobody listens (10.0.0.0:80: "));
        let mixed = with(&[(0, Doubt::Refused), (1, Doubt::Silent)]);
        assert_eq!(judge_port(&two, &mixed).0, PortState::Degraded);
    }
}
