//! One promise a test.

use super::*;

#[test]
fn a_second_round_has_nothing_to_do() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let services = [service(
        35000,
        Protocols::Both,
        vec![backend(1, 80, BackendState::Active)],
    )];
    let first = round(&services, &mut books, &mut tables);
    assert!(!first.is_empty());
    let told = first.to_string();
    assert!(
        told.ends_with("2 backends, 2 endpoints, 2 frontends"),
        "{told}"
    );
    let second = round(&services, &mut books, &mut tables);
    assert!(second.is_empty() && second.to_string().is_empty());
    assert_eq!(tables.frontends.len(), 2);
    assert_eq!(tables.backends.len(), 2);
    assert_eq!(tables.endpoints.len(), 2);
}

#[test]
fn a_restarted_agent_finds_its_state_in_the_tables_and_changes_nothing() {
    let mut tables = Memory::default();
    let mut first = books(&mut tables);
    let services = [
        service(
            35000,
            Protocols::Tcp,
            vec![backend(1, 80, BackendState::Active)],
        ),
        service(
            35001,
            Protocols::Udp,
            vec![backend(2, 53, BackendState::Draining)],
        ),
    ];
    round(&services, &mut first, &mut tables);
    let mut second = books(&mut tables);
    assert!(round(&services, &mut second, &mut tables).is_empty());
}

#[test]
fn a_draining_backend_keeps_its_row_and_leaves_the_set() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let mut one = service(
        35000,
        Protocols::Tcp,
        vec![
            backend(1, 80, BackendState::Active),
            backend(2, 80, BackendState::Active),
        ],
    );
    round(&[one.clone()], &mut books, &mut tables);
    one.backends[0].state = BackendState::Leaving { until: 9 };
    round(&[one.clone()], &mut books, &mut tables);
    let frontend = tables.frontends.values().next().unwrap();
    assert_eq!(tables.in_force(frontend)[0].count, 1);
    assert_eq!(tables.backends[&0].state, Row::DRAINING);
    one.backends.remove(0);
    round(&[one], &mut books, &mut tables);
    assert_eq!(tables.backends[&0].state, Row::GONE);
    assert_eq!(tables.endpoints.len(), 1);
}

#[test]
fn one_endpoint_behind_two_ports_leaves_one_without_the_other() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let shared = backend(1, 80, BackendState::Active);
    let services = [
        service(35000, Protocols::Tcp, vec![shared.clone()]),
        service(35001, Protocols::Tcp, vec![shared]),
    ];
    round(&services, &mut books, &mut tables);
    round(&services[1..], &mut books, &mut tables);
    let live: Vec<_> = tables
        .backends
        .values()
        .filter(|row| row.state == Row::ACTIVE)
        .collect();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].frontend_port, 35001);
    assert_eq!(tables.endpoints.len(), 1);
}

#[test]
fn a_backend_without_a_route_takes_no_flows() {
    let lost = backend(251, 80, BackendState::Active);
    let desired = desired(
        &[service(35000, Protocols::Tcp, vec![lost])],
        Scope::Whole,
        ground(&routes(), &own()),
    );
    assert!(desired.backends.is_empty());
    assert!(
        desired
            .frontends
            .values()
            .all(|frontend| frontend.takers.iter().all(Vec::is_empty))
    );
}

#[test]
fn failing_backends_leave_the_set_of_their_family_unless_all_of_it_fail() {
    let failing = |backend: Backend| Backend {
        failing: Some(Box::new(Failing {
            since: 1,
            reason: "no answer".into(),
        })),
        ..backend
    };
    let active = |last| backend(last, 80, BackendState::Active);
    let only = backend6(3, BackendState::Active);
    let backends = vec![failing(active(1)), active(2), failing(only)];
    let services = [service(35000, Protocols::Udp, backends)];
    let states = |all_down| {
        let (routes, own) = (routes(), own());
        let ground = HostView {
            all_down,
            ..ground(&routes, &own)
        };
        let desired = desired(&services, Scope::Whole, ground);
        let takers = &desired.frontends.values().next().unwrap().takers;
        let counts = (takers[0].len(), takers[1].len());
        let rows = desired.backends.values().map(|backend| backend.row.state);
        (rows.collect::<Vec<_>>(), counts)
    };
    let (first, second) = (Row::UNHEALTHY, Row::ACTIVE);
    let kept = (vec![first, second, Row::ACTIVE], (1, 1));
    assert_eq!(states(AllDown::UseLast), kept);
    let refused = (vec![first, second, Row::DRAINING], (1, 0));
    assert_eq!(states(AllDown::Refuse), refused);
}

#[test]
fn an_ejected_backend_stays_in_its_set_and_says_so() {
    let active = |last| backend(last, 80, BackendState::Active);
    let services = [service(35000, Protocols::Tcp, vec![active(1), active(2)])];
    let suspect = Suspect {
        protocol: Protocol::Tcp,
        port: 35000,
        address: services[0].backends[1].address,
    };
    let (routes, own) = (routes(), own());
    let ejected = BTreeMap::from([(suspect, Doubt::Silent)]);
    let ground = HostView {
        ejected: &ejected,
        ..ground(&routes, &own)
    };
    let desired = desired(&services, Scope::Whole, ground);
    let states = desired.backends.values().map(|backend| backend.row.state);
    assert_eq!(states.collect::<Vec<_>>(), [Row::ACTIVE, Row::EJECTED]);
    assert_eq!(
        desired.frontends.values().next().unwrap().takers[0].len(),
        2
    );
}

#[test]
fn a_lost_route_keeps_the_backend_and_its_flows() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let services = [service(
        35000,
        Protocols::Tcp,
        vec![backend(1, 80, BackendState::Active)],
    )];
    round(&services, &mut books, &mut tables);
    let lost = desired(&services, Scope::Whole, ground(&Routes::new(), &own()));
    let plan = Plan::between(&books.actual, &lost, &mut books.free);
    apply(&plan, &mut books, &mut tables).unwrap();
    assert_eq!(tables.backends[&0].state, Row::ACTIVE);
    assert_eq!(tables.endpoints.len(), 1);
    let frontend = tables.frontends.values().next().unwrap();
    assert_eq!(tables.in_force(frontend)[0].count, 0);
}

#[test]
fn own_addresses_have_the_roles_that_they_play() {
    let desired = desired(&[], Scope::Whole, ground(&routes(), &own()));
    let roles = |address: IpAddr| desired.addresses.get(&Ip::from(address)).copied();
    let public = Address::PUBLIC | Address::LOCAL;
    let translation = Address::TRANSLATION | Address::LOCAL;
    assert_eq!(roles([192, 0, 2, 1].into()), Some(public));
    assert_eq!(roles(v4(254)), Some(translation));
    assert_eq!(roles(v6(254)), Some(translation));
    assert_eq!(roles(v4(253)), Some(translation));
    assert_eq!(roles(v4(252)), None);
}

#[test]
fn a_backend_sees_the_routes_source_first_and_the_named_ones_that_the_node_has() {
    let services = [service(
        35000,
        Protocols::Tcp,
        vec![
            backend(1, 80, BackendState::Active),
            backend6(1, BackendState::Active),
        ],
    )];
    let desired = desired(&services, Scope::Whole, ground(&routes(), &own()));
    let lists: Vec<Vec<IpAddr>> = desired
        .backends
        .values()
        .map(|backend| {
            let sources = &backend.sources;
            let used = &sources.addresses[..sources.count as usize];
            used.iter().map(|address| IpAddr::from(*address)).collect()
        })
        .collect();
    assert_eq!(lists, [vec![v4(254), v4(253)], vec![v6(254)]]);
}

#[test]
fn each_family_has_a_set_of_its_own_that_counts_the_other() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let backends = vec![
        backend(1, 80, BackendState::Active),
        backend6(1, BackendState::Active),
        backend6(2, BackendState::Active),
    ];
    let services = [service(35000, Protocols::Tcp, backends)];
    round(&services, &mut books, &mut tables);
    let sets = tables.in_force(&tables.frontends[&35000]);
    assert_eq!([sets[0].count, sets[1].count], [1, 2]);
    assert_eq!([sets[0].other_family, sets[1].other_family], [2, 1]);
}

#[test]
fn tables_and_lists_are_shared_and_change_aside() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let backends = vec![
        backend(1, 80, BackendState::Active),
        backend(2, 80, BackendState::Active),
    ];
    let mut one = service(35000, Protocols::Both, backends);
    one.settings.policy = Policy::SourceHash;
    one.settings.udp_policy = Policy::SourceHash;
    one.settings.denied_cidrs = vec!["10.0.0.0/8".parse().unwrap()];
    round(&[one.clone()], &mut books, &mut tables);
    assert_eq!((tables.acls.len(), tables.turns.len()), (1, 1));
    let before = tables.in_force(&tables.frontends[&35000])[0];

    one.settings
        .denied_cidrs
        .push("192.0.2.0/24".parse().unwrap());
    one.backends[0].weight = 3;
    round(&[one.clone()], &mut books, &mut tables);
    let after = tables.in_force(&tables.frontends[&35000])[0];
    assert_ne!(before.limits.acl, after.limits.acl);
    assert_ne!(before.turns, after.turns);
    assert_eq!(
        tables.acls.keys().copied().collect::<Vec<_>>(),
        [after.limits.acl]
    );

    one.settings = PortSettings::default();
    one.backends[0].weight = 1;
    round(&[one], &mut books, &mut tables);
    let last = tables.in_force(&tables.frontends[&35000])[0];
    assert_eq!((last.turns, last.limits.acl, tables.acls.len()), (0, 0, 0));
}

#[test]
fn without_a_turn_table_a_port_is_served_and_the_lack_is_named() {
    let mut tables = Memory::default();
    let few = Capacity {
        turns: 1,
        ..capacity(4, 4)
    };
    let mut books = TableMirror::open(tables.read().unwrap(), few);
    let mut one = service(
        35000,
        Protocols::Tcp,
        vec![backend(1, 80, BackendState::Active)],
    );
    one.settings.policy = Policy::SourceHash;
    let plan = round(&[one], &mut books, &mut tables);
    assert!(
        plan.refused[0].contains("turn tables"),
        "{:?}",
        plan.refused
    );
    assert_eq!(tables.frontends.len(), 1);
}

#[test]
fn a_set_is_rewritten_only_after_its_readers_are_done() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    for last in 1..=4 {
        let backends = (1..=last)
            .map(|last| backend(last, 80, BackendState::Active))
            .collect();
        round(
            &[service(35000, Protocols::Tcp, backends)],
            &mut books,
            &mut tables,
        );
    }
    assert!(tables.waits >= 3, "waited {} times", tables.waits);
}

#[test]
fn what_has_no_slot_is_named_and_the_rest_is_served() {
    let mut tables = Memory::default();
    let mut books = TableMirror::open(tables.read().unwrap(), capacity(1, 1));
    let services = [
        service(
            35000,
            Protocols::Tcp,
            vec![backend(1, 80, BackendState::Active)],
        ),
        service(
            35001,
            Protocols::Tcp,
            vec![backend(2, 80, BackendState::Active)],
        ),
    ];
    let plan = round(&services, &mut books, &mut tables);
    assert_eq!(plan.refused.len(), 2);
    assert_eq!(tables.frontends.len(), 1);
}

#[test]
fn a_port_whose_backends_are_told_of_clients_is_left_to_the_proxy() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let mut web = service(
        35000,
        Protocols::Both,
        vec![backend(1, 80, BackendState::Active)],
    );
    round(std::slice::from_ref(&web), &mut books, &mut tables);
    assert_eq!(tables.frontends.len(), 2);
    web.settings.client_ip = crate::model::ClientIp::ProxyV2;
    round(std::slice::from_ref(&web), &mut books, &mut tables);
    assert_eq!(tables.frontends.len(), 0);
    web.settings.client_ip = crate::model::ClientIp::Snat;
    round(&[web], &mut books, &mut tables);
    assert_eq!(tables.frontends.len(), 2);
}
