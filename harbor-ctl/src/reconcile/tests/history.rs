//! Any history of services and restarts.

use proptest::prelude::*;

use super::*;

/// Protocols, backends by last octet and family (and whether they fail), draining, policy, denied networks.
type AnyService = (
    Protocols,
    BTreeMap<(u8, bool), (BackendState, u8, bool)>,
    bool,
    Policy,
    Vec<&'static str>,
);

fn any_services() -> impl Strategy<Value = Vec<Service>> {
    let states = prop_oneof![
        Just(BackendState::Active),
        Just(BackendState::Draining),
        Just(BackendState::Leaving { until: 1 }),
    ];
    let backends = prop::collection::btree_map(
        (0u8..8, any::<bool>()),
        (states, 1u8..3, any::<bool>()),
        0..6,
    );
    let protocols = prop_oneof![
        Just(Protocols::Tcp),
        Just(Protocols::Udp),
        Just(Protocols::Both)
    ];
    let policies = prop::sample::select(Policy::ALL.to_vec());
    let denied = prop::sample::subsequence(vec!["10.0.0.0/8", "2001:db8::/32"], 0..=2);
    let one = (protocols, backends, any::<bool>(), policies, denied);
    prop::collection::btree_map(35000u16..35006, one, 0..6).prop_map(|services| {
        let build = |(port, one): (u16, AnyService)| {
            let (protocols, backends, draining, policy, denied) = one;
            let backends = backends
                .into_iter()
                .map(|((last, is_v6), (state, weight, fails))| Backend {
                    weight,
                    failing: fails.then(|| {
                        Box::new(Failing {
                            since: 1,
                            reason: "no answer".into(),
                        })
                    }),
                    ..if is_v6 {
                        backend6(last, state)
                    } else {
                        backend(last, 80, state)
                    }
                });
            let mut service = service(port, protocols, backends.collect());
            service.draining = draining;
            service.settings.policy = policy;
            service.settings.denied_cidrs =
                denied.iter().map(|text| text.parse().unwrap()).collect();
            service
        };
        services.into_iter().map(build).collect()
    })
}

proptest! {
    /// Whatever the history, the tables end as a fresh start would have made them, the picture
    /// equals the tables, and no step in between could trip a packet (`Memory` checks).
    #[test]
    fn any_history_ends_in_the_desired_state(
        history in prop::collection::vec((any_services(), any::<bool>()), 1..12)
    ) {
        let mut tables = Memory::default();
        let mut books = books(&mut tables);
        for (services, restart) in &history {
            if *restart {
                books = self::books(&mut tables);
            }
            round(services, &mut books, &mut tables);
            prop_assert_eq!(&tables.read().unwrap(), &books.actual);
            prop_assert!(round(services, &mut books, &mut tables).is_empty());
        }
    }

    /// Changes made port by port lead where a change of everything leads, but for what only a look
    /// at everything can take away.
    #[test]
    fn ports_changed_one_by_one_end_as_all_at_once(
        history in prop::collection::vec(any_services(), 1..8)
    ) {
        let mut tables = Memory::default();
        let mut books = books(&mut tables);
        let mut before: Vec<Service> = Vec::new();
        for services in &history {
            let ports: BTreeSet<u16> = before.iter().chain(services).map(|s| s.port).collect();
            for port in ports {
                let of = |all: &[Service]| all.iter().find(|s| s.port == port).cloned();
                let (old, new) = (of(&before), of(services));
                let keys = old.iter().chain(&new).flat_map(frontends).collect();
                let desired = desired(&new, Scope::Part(keys), ground(&routes(), &own()));
                let plan = Plan::between(&books.actual, &desired, &mut books.free);
                apply(&plan, &mut books, &mut tables).unwrap();
            }
            before.clone_from(services);
            let left = round(services, &mut books, &mut tables);
            prop_assert_eq!(&tables.read().unwrap(), &books.actual);
            let tidy = Plan {
                // Before the first look at everything nobody has granted what no port needs.
                grant: left.grant.clone(),
                strangers: left.strangers.clone(),
                idle: left.idle.clone(),
                revoke: left.revoke.clone(),
                ..Plan::default()
            };
            prop_assert_eq!(left, tidy);
        }
    }
}
