//! What has happened to a service, found by comparing what it was with what it is: so nothing that
//! changes one can forget to tell, whoever has changed it.

use super::{
    EventKind,
    event::{Happening, SettingChange, Subject},
    moment::rfc3339,
    provision::Binding,
    service::{Backend, BackendState, Service},
    settings::SETTINGS,
};

/// What has happened, in the order in which it is told.
pub(crate) fn service_events(before: Option<&Service>, after: Option<&Service>) -> Vec<Happening> {
    match (before, after) {
        (None, None) => Vec::new(),
        (None, Some(after)) => {
            let text = format!("port {}/{} allocated", after.port, after.protocols);
            let begun = Happening::new(EventKind::PortAllocated, of(after), text);
            let nothing = Service {
                backends: Vec::new(),
                bindings: Vec::new(),
                ..after.clone()
            };
            [vec![begun], parts(&nothing, after)].concat()
        }
        (Some(before), None) => {
            let nothing = Service {
                backends: Vec::new(),
                bindings: Vec::new(),
                ..before.clone()
            };
            let text = format!("port {}/{} released", before.port, before.protocols);
            let ended = Happening::new(EventKind::PortReleased, of(before), text);
            [parts(before, &nothing), vec![ended]].concat()
        }
        (Some(before), Some(after)) => {
            let changed = changes(before, after);
            let mut all = Vec::new();
            if !changed.is_empty() {
                let shown: Vec<String> = changed.iter().map(SettingChange::to_string).collect();
                let text = format!("changed: {}", shown.join(", "));
                let happening = Happening::new(EventKind::PortChanged, of(after), text);
                all.push(happening.with(changed));
            }
            all.append(&mut parts(before, after));
            all
        }
    }
}

/// What is another now.
fn changes(before: &Service, after: &Service) -> Vec<SettingChange> {
    let (old, new) = (&before.settings, &after.settings);
    let keys = SETTINGS.iter().map(|(key, _)| *key);
    let set = keys.map(|key| SettingChange::new(key, old.shown(key), new.shown(key)));
    let end = |service: &Service| service.expires_at.map(|at| rfc3339(at, 0));
    let draining = |service: &Service| Some(service.draining.to_string());
    let node = |service: &Service| Some(service.node.clone());
    let more = [
        SettingChange::new("expires_at", end(before), end(after)),
        SettingChange::new("draining", draining(before), draining(after)),
        SettingChange::new("node", node(before), node(after)),
    ];
    let all = set.chain(more);
    all.filter(|change| change.old != change.new).collect()
}

/// Backends and bindings.
fn parts(before: &Service, after: &Service) -> Vec<Happening> {
    let mut all = Vec::new();
    for old in &before.backends {
        let new = after.backends.iter().find(|new| is_same(old, new));
        all.extend(of_backend((before, after), old, new));
    }
    for new in &after.backends {
        if !before.backends.iter().any(|old| is_same(old, new)) {
            let text = format!("backend {} added", new.address);
            all.push(backend_event(EventKind::BackendAdded, after, new, text));
        }
    }
    let lacks = |service: &Service, id: &str| !service.bindings.iter().any(|b| b.id == id);
    let gone = before.bindings.iter().filter(|b| lacks(after, &b.id));
    all.extend(gone.map(|b| bound(EventKind::BindingDeleted, after, b)));
    let made = after.bindings.iter().filter(|b| lacks(before, &b.id));
    all.extend(made.map(|b| bound(EventKind::BindingCreated, after, b)));
    all
}

fn is_same(a: &Backend, b: &Backend) -> bool {
    a.instance == b.instance && a.address == b.address
}

fn of_backend(
    (before, service): (&Service, &Service),
    old: &Backend,
    new: Option<&Backend>,
) -> Vec<Happening> {
    let address = old.address;
    let gone = |service| {
        let text = format!("backend {address} removed");
        backend_event(EventKind::BackendRemoved, service, old, text)
    };
    let Some(new) = new else {
        // One that was removed by an operator has been told of.
        let was_told = old.state == BackendState::Removed;
        return (!was_told).then(|| gone(service)).into_iter().collect();
    };
    let mut all = Vec::new();
    let tell = |kind, text: String| backend_event(kind, service, new, text);
    match (old.state, new.state) {
        (old, new) if std::mem::discriminant(&old) == std::mem::discriminant(&new) => {}
        (_, BackendState::Active) => {
            let text = format!("backend {address} takes new flows");
            all.push(tell(EventKind::BackendResumed, text));
        }
        (_, BackendState::Removed) => all.push(gone(service)),
        (BackendState::Draining, BackendState::Leaving { .. }) => {}
        (_, BackendState::Draining | BackendState::Leaving { .. }) => {
            let text = format!("backend {address} takes no new flows");
            all.push(tell(EventKind::BackendDraining, text));
        }
    }
    match (&old.failing, &new.failing) {
        (None, Some(failing)) => {
            let text = format!("backend {address} is failing: {}", failing.reason);
            all.push(tell(EventKind::BackendFailing, text));
        }
        // Nobody has asked it: only how it is asked is another.
        (Some(_), None) if before.settings.health != service.settings.health => {
            let text =
                format!("backend {address} is no longer known to fail: it is probed otherwise");
            all.push(tell(EventKind::BackendUnknown, text));
        }
        (Some(_), None) => {
            let text = format!("backend {address} is up again");
            all.push(tell(EventKind::BackendRecovered, text));
        }
        _ => {}
    }
    all
}

fn of(service: &Service) -> Subject {
    Subject {
        service: Some(service.id.clone()),
        name: Some(service.name.clone()),
        port: Some(service.port),
        ..Subject::default()
    }
}

/// Something that has happened to a backend of a service.
pub(crate) fn backend_event(
    kind: EventKind,
    service: &Service,
    backend: &Backend,
    text: String,
) -> Happening {
    let subject = Subject {
        instance: Some(backend.instance.clone()),
        address: Some(backend.address.to_string()),
        dea: backend.announced.as_ref().map(|said| said.dea.clone()),
        ..of(service)
    };
    Happening::new(kind, subject, text)
}

fn bound(kind: EventKind, service: &Service, binding: &Binding) -> Happening {
    let what = match kind {
        EventKind::BindingCreated => "created",
        _ => "deleted",
    };
    let subject = Subject {
        binding: Some(binding.id.clone()),
        ..of(service)
    };
    Happening::new(kind, subject, format!("binding {} {what}", binding.id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Departure, Failing, HealthCheck, Protocols, testing::service};

    fn kinds(before: Option<&Service>, after: Option<&Service>) -> Vec<EventKind> {
        let events = service_events(before, after);
        events.into_iter().map(|event| event.kind).collect()
    }

    #[test]
    fn a_service_is_told_from_its_first_day_to_its_last() {
        let mut web = service("web", 35_000, Protocols::Tcp);
        web.add_backend("10.0.0.1:80".parse().unwrap(), None, 1)
            .unwrap();
        let begun = [EventKind::PortAllocated, EventKind::BackendAdded];
        assert_eq!(kinds(None, Some(&web)), begun);
        let ended = [EventKind::BackendRemoved, EventKind::PortReleased];
        assert_eq!(kinds(Some(&web), None), ended);
        assert_eq!(kinds(Some(&web), Some(&web)), []);

        let mut other = web.clone();
        other.revision += 1;
        assert_eq!(kinds(Some(&web), Some(&other)), []);
        other.settings.max_connections = 5;
        let events = service_events(Some(&web), Some(&other));
        assert_eq!(events[0].text, "changed: max_connections none -> 5");
    }

    #[test]
    fn every_turn_of_a_backend_is_told_once() {
        let mut web = service("web", 35_000, Protocols::Tcp);
        web.add_backend("10.0.0.1:80".parse().unwrap(), None, 1)
            .unwrap();
        let mut next = web.clone();
        next.drain_backend("10.0.0.1:80").unwrap();
        assert_eq!(kinds(Some(&web), Some(&next)), [EventKind::BackendDraining]);
        let mut last = next.clone();
        last.remove_backend("10.0.0.1:80", Departure::after(30, 1))
            .unwrap();
        assert_eq!(kinds(Some(&next), Some(&last)), []);
        last.backends.clear();
        assert_eq!(kinds(Some(&next), Some(&last)), [EventKind::BackendRemoved]);

        let mut sick = web.clone();
        sick.backends[0].failing = Some(Box::new(Failing {
            since: 1,
            reason: "refused".into(),
        }));
        assert_eq!(kinds(Some(&web), Some(&sick)), [EventKind::BackendFailing]);
        assert_eq!(
            kinds(Some(&sick), Some(&web)),
            [EventKind::BackendRecovered]
        );
        let mut unasked = web.clone();
        unasked.settings.health = Some(HealthCheck::Off);
        assert_eq!(
            kinds(Some(&sick), Some(&unasked)),
            [EventKind::PortChanged, EventKind::BackendUnknown]
        );
    }

    #[test]
    fn bindings_and_lifetimes_are_told_without_what_they_hold() {
        let web = service("web", 35_000, Protocols::Tcp);
        let mut bound = web.clone();
        bound.bindings.push(Binding {
            id: "b1".into(),
            app: Some("app".into()),
            int_port: 4_100,
            created_at: 1,
        });
        let events = service_events(Some(&web), Some(&bound));
        assert_eq!(events[0].kind, EventKind::BindingCreated);
        assert_eq!(events[0].subject.binding.as_deref(), Some("b1"));
        assert_eq!(kinds(Some(&bound), Some(&web)), [EventKind::BindingDeleted]);
        let mut short = web.clone();
        (short.expires_at, short.draining) = (Some(9), true);
        let events = service_events(Some(&web), Some(&short));
        assert_eq!(
            events[0].text,
            "changed: expires_at none -> 1970-01-01T00:00:09Z, draining false -> true"
        );
        assert_eq!(events[0].changes[1].new.as_deref(), Some("true"));
    }
}
