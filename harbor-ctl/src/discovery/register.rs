//! What an app host's words change in a service. Pure.

use super::document::Instance;
use crate::model::{
    Announced, BACKEND_LIMIT, Backend, BackendState, Departure, Readiness, Refusal, RefusalKind,
    Service,
};

/// Takes over what an app host says of one instance. Saying it again changes nothing.
pub(crate) fn register(
    service: &mut Service,
    dea: &str,
    said: &Instance,
    now: u64,
) -> Result<(), Refusal> {
    match said.state {
        Readiness::Down => {
            withdraw(service, dea, &said.instance, now);
            Ok(())
        }
        Readiness::Up | Readiness::Draining => stand(service, dea, said, now),
    }
}

/// An instance leaves by its app host's own words.
pub(crate) fn withdraw(service: &mut Service, dea: &str, instance: &str, now: u64) {
    let departure = Departure::after(service.settings.drain_s, now);
    let is_it = |backend: &Backend| backend.instance == instance && backend.is_announced_by(dea);
    service.backends.retain_mut(|backend| {
        if !is_it(backend) {
            return true;
        }
        backend.announced = None;
        match (backend.state, departure) {
            (BackendState::Removed, _) | (_, Departure::Now) => false,
            (BackendState::Leaving { .. }, _) => true,
            (_, Departure::DrainUntil(until)) => {
                backend.state = BackendState::Leaving { until };
                true
            }
        }
    });
}

/// Everything of an app host is gone at once; returns what that was.
pub(crate) fn end_lease(service: &mut Service, dea: &str) -> Vec<Backend> {
    let all = std::mem::take(&mut service.backends);
    let (gone, kept) = all
        .into_iter()
        .partition(|backend| backend.is_announced_by(dea));
    service.backends = kept;
    gone
}

/// An address belongs to whoever announced it last: another instance that had it is gone at once.
pub(crate) fn vacate(service: &mut Service, said: &Instance) {
    service.backends.retain(|backend| {
        backend.announced.is_none()
            || backend.address != said.address()
            || backend.instance == said.instance
    });
}

fn stand(service: &mut Service, dea: &str, said: &Instance, now: u64) -> Result<(), Refusal> {
    if let Some(protocol) = said.protocol.filter(|p| !service.protocols.contains(*p)) {
        let text = format!("{} does not serve {protocol}", service.name);
        return Err(Refusal::invalid("protocol", text));
    }
    if let Some(by_hand) = by_hand(service, said) {
        return match is_same(by_hand, said) {
            true => Ok(()),
            false => Err(taken(service, by_hand)),
        };
    }
    let address = said.address();
    let is_in_the_way = |b: &Backend| b.instance == said.instance || b.address == address;
    // The instance has moved, or its address was another's: what stood there is gone at once.
    let backends = &mut service.backends;
    backends.retain(|backend| is_same(backend, said) || !is_in_the_way(backend));
    let backend = match backends.iter().position(|b| is_same(b, said)) {
        Some(index) => again(backends, index, said.state),
        None if backends.len() >= BACKEND_LIMIT => return Err(full(service)),
        None => fresh(backends, said, now),
    };
    backend.weight = said.weight.unwrap_or(backend.weight);
    backend.announced = Some(Box::new(Announced {
        dea: dea.to_owned(),
        service: said.service.clone(),
        said: said.state,
        app: said.app.clone(),
        index: said.index,
    }));
    Ok(())
}

fn is_same(backend: &Backend, said: &Instance) -> bool {
    backend.instance == said.instance && backend.address == said.address()
}

/// What an operator added and that has the instance's name or address.
fn by_hand<'a>(service: &'a Service, said: &Instance) -> Option<&'a Backend> {
    let is_leaving = |b: &Backend| matches!(b.state, BackendState::Leaving { .. });
    service.backends.iter().find(|b| {
        let is_in_the_way = b.instance == said.instance || b.address == said.address();
        b.announced.is_none() && !is_leaving(b) && is_in_the_way
    })
}

/// A known instance is announced: what had been said before changes nothing.
fn again(backends: &mut Vec<Backend>, index: usize, said: Readiness) -> &mut Backend {
    let held = backends[index].announced.as_ref();
    if held.is_some_and(|held| held.said == said) {
        return &mut backends[index];
    }
    let mut backend = backends.remove(index);
    backend.state = state(said);
    // What comes back goes to the end: it must not steal live clients.
    let place = match said {
        Readiness::Up => backends.len(),
        Readiness::Draining | Readiness::Down => index,
    };
    backends.insert(place, backend);
    &mut backends[place]
}

fn fresh<'a>(backends: &'a mut Vec<Backend>, said: &Instance, now: u64) -> &'a mut Backend {
    let place = backends.len();
    backends.push(Backend {
        instance: said.instance.clone(),
        address: said.address(),
        weight: 1,
        state: state(said.state),
        registered_at: now,
        announced: None,
        failing: None,
    });
    &mut backends[place]
}

fn full(service: &Service) -> Refusal {
    let name = &service.name;
    let text = format!("{name} already has {BACKEND_LIMIT} backends, the most allowed");
    Refusal::new(RefusalKind::TooManyBackends, text).field("instance")
}

fn state(said: Readiness) -> BackendState {
    match said {
        Readiness::Up => BackendState::Active,
        Readiness::Draining | Readiness::Down => BackendState::Draining,
    }
}

fn taken(service: &Service, by_hand: &Backend) -> Refusal {
    let Backend {
        instance, address, ..
    } = by_hand;
    let name = &service.name;
    let text = format!("{name} has {address} as instance {instance}, added by an operator");
    let fix = format!("harbor-ctl backends remove {name} {instance}, or announce another name");
    Refusal::new(RefusalKind::InstanceTaken, text)
        .field("instance")
        .fix(fix)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Protocols, testing};

    fn said(instance: &str, last: u8, state: Readiness) -> Instance {
        Instance {
            service: "web".into(),
            instance: instance.into(),
            app: None,
            index: None,
            ip: [10, 0, 0, last].into(),
            port: 80,
            protocol: None,
            weight: None,
            state,
        }
    }

    fn states(service: &Service) -> Vec<(&str, BackendState)> {
        let each = service.backends.iter();
        each.map(|b| (b.instance.as_str(), b.state)).collect()
    }

    #[test]
    fn an_instance_comes_drains_comes_back_at_the_end_and_goes() {
        let mut web = testing::service("web", 35_000, Protocols::Udp);
        let mut hear = |instance, last, state| {
            register(&mut web, "d", &said(instance, last, state), 1).unwrap();
            states(&web)
                .iter()
                .map(|(i, s)| (i.to_string(), *s))
                .collect::<Vec<_>>()
        };
        hear("a", 1, Readiness::Up);
        let both = hear("b", 2, Readiness::Up);
        assert_eq!(hear("a", 1, Readiness::Up), both, "said before");
        let drained = hear("a", 1, Readiness::Draining);
        assert_eq!(drained[0], ("a".into(), BackendState::Draining));
        assert_eq!(hear("a", 1, Readiness::Up)[1].0, "a");
        let leaving = hear("b", 2, Readiness::Down);
        assert_eq!(leaving[0].1, BackendState::Leaving { until: 31 });
    }

    #[test]
    fn an_address_and_an_instance_are_where_they_were_announced_last() {
        let mut web = testing::service("web", 35_000, Protocols::Tcp);
        register(&mut web, "d", &said("a", 1, Readiness::Up), 1).unwrap();
        register(&mut web, "e", &said("b", 1, Readiness::Up), 1).unwrap();
        assert_eq!(states(&web), [("b", BackendState::Active)]);
        register(&mut web, "e", &said("b", 2, Readiness::Up), 1).unwrap();
        assert_eq!(web.backends.len(), 1);
        assert_eq!(
            web.backends[0].address,
            said("b", 2, Readiness::Up).address()
        );
        let mut other = web.clone();
        vacate(&mut other, &said("x", 2, Readiness::Up));
        assert!(other.backends.is_empty());
    }

    #[test]
    fn what_an_operator_added_is_not_taken_away() {
        let mut web = testing::service("web", 35_000, Protocols::Tcp);
        let address = said("a", 1, Readiness::Up).address();
        web.add_backend(address, Some("hand"), 1).unwrap();
        let before = web.clone();
        for instance in [said("a", 1, Readiness::Up), said("hand", 2, Readiness::Up)] {
            let refusal = register(&mut web, "d", &instance, 1).unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::InstanceTaken);
        }
        register(&mut web, "d", &said("hand", 1, Readiness::Up), 1).unwrap();
        register(&mut web, "d", &said("hand", 1, Readiness::Down), 1).unwrap();
        assert!(end_lease(&mut web, "d").is_empty());
        assert_eq!(web, before);
    }

    proptest! {
        /// However often and in which order an app host speaks, saying all that it has at last
        /// leaves just that; and the end of its lease leaves nothing.
        #[test]
        fn what_was_said_last_is_what_stands(
            words in prop::collection::vec((0u8..6, 0u8..6, 0u8..3), 0..40),
        ) {
            let mut web = testing::service("web", 35_000, Protocols::Tcp);
            web.settings.drain_s = 0;
            for (name, last, state) in words {
                let state = [Readiness::Up, Readiness::Draining, Readiness::Down][usize::from(state)];
                let instance = said(&format!("i{name}"), last, state);
                register(&mut web, "d", &instance, 1).unwrap();
                let held = web.backends.iter().find(|b| b.instance == instance.instance);
                match state {
                    Readiness::Down => prop_assert!(held.is_none()),
                    _ => prop_assert_eq!(held.map(|b| b.address), Some(instance.address())),
                }
                let mut addresses: Vec<_> = web.backends.iter().map(|b| b.address).collect();
                addresses.sort();
                addresses.dedup();
                prop_assert_eq!(addresses.len(), web.backends.len());
            }
            end_lease(&mut web, "d");
            prop_assert!(web.backends.is_empty());
        }
    }
}
