//! The reconciler against tables in memory.

use std::{collections::BTreeMap, convert::Infallible, net::Ipv4Addr};

use harbor_common::{
    addr::{Address, Ipv4},
    backend::{Backend as Row, Endpoint},
    frontend::{BackendSet, Frontend},
};
use proptest::prelude::*;

use super::*;
use crate::model::{Backend, BackendState, Policy, Protocols, Route, Service};

/// Tables in memory that check, at each step, that no packet could trip.
#[derive(Default)]
struct Memory {
    addresses: BTreeMap<Ipv4, u32>,
    backends: BTreeMap<u32, Row>,
    endpoints: BTreeMap<Endpoint, u32>,
    sets: BTreeMap<u32, BackendSet>,
    frontends: BTreeMap<u32, Frontend>,
    waits: usize,
}

impl Memory {
    /// Every frontend in force leads to rows that take flows and belong to it.
    fn check(&self) {
        for (index, frontend) in &self.frontends {
            let key = FrontendKey::from_index(*index);
            let set = self.sets[&frontend.set_index()];
            for slot in &set.backends[..set.count as usize] {
                let row = self.backends[slot];
                assert_eq!(
                    row.frontend_port, key.port,
                    "set of {key:?} leads to {row:?}"
                );
            }
        }
    }
}

impl Tables for Memory {
    type Error = Infallible;

    fn read(&mut self) -> Result<Actual, Infallible> {
        let mut actual = Actual {
            addresses: self.addresses.clone(),
            ..Actual::default()
        };
        for (slot, row) in &self.backends {
            actual.note_backend(*slot, *row);
        }
        actual.endpoints = self.endpoints.clone();
        for (index, frontend) in &self.frontends {
            let set = self.sets[&frontend.set_index()];
            actual
                .frontends
                .insert(FrontendKey::from_index(*index), (*frontend, set));
        }
        Ok(actual)
    }
    fn put_address(&mut self, address: Ipv4, roles: u32) -> Result<(), Infallible> {
        self.addresses.insert(address, roles);
        Ok(())
    }
    fn remove_address(&mut self, address: Ipv4) -> Result<(), Infallible> {
        self.addresses.remove(&address);
        Ok(())
    }
    fn put_backend(&mut self, slot: u32, row: &Row) -> Result<(), Infallible> {
        if let Some(held) = self.backends.insert(slot, *row) {
            let same = (held.address, held.port) == (row.address, row.port);
            assert!(
                same || row.generation > held.generation,
                "slot reused without a generation"
            );
        }
        self.check();
        Ok(())
    }
    fn put_endpoint(&mut self, endpoint: Endpoint, slot: u32) -> Result<(), Infallible> {
        self.endpoints.insert(endpoint, slot);
        Ok(())
    }
    fn remove_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Infallible> {
        self.endpoints.remove(&endpoint);
        Ok(())
    }
    fn put_set(&mut self, index: u32, set: &BackendSet) -> Result<(), Infallible> {
        let in_force = self
            .frontends
            .values()
            .any(|frontend| frontend.set_index() == index);
        assert!(!in_force, "set {index} was changed under packets");
        self.sets.insert(index, *set);
        Ok(())
    }
    fn put_frontend(&mut self, index: u32, frontend: &Frontend) -> Result<(), Infallible> {
        if frontend.is_served() {
            self.frontends.insert(index, *frontend);
        } else {
            self.frontends.remove(&index);
        }
        self.check();
        Ok(())
    }
    fn reset_slot(&mut self, _slot: u32) -> Result<(), Infallible> {
        Ok(())
    }
    fn wait_for_readers(&mut self) -> Result<(), Infallible> {
        self.waits += 1;
        Ok(())
    }
}

fn backend(last: u8, port: u16, state: BackendState) -> Backend {
    Backend {
        instance: format!("i{last}"),
        address: SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, last), port),
        state,
        registered_at: 0,
    }
}

fn service(port: u16, protocols: Protocols, backends: Vec<Backend>) -> Service {
    Service {
        id: port.to_string(),
        name: format!("s{port}"),
        port,
        protocols,
        tcp_policy: Policy::RoundRobin,
        udp_policy: Policy::First,
        drain_seconds: 30,
        draining: false,
        created_at: 0,
        backends,
    }
}

fn routes() -> Routes {
    let route = Route {
        ifindex: 2,
        source: Ipv4Addr::new(10, 0, 0, 254),
    };
    (0..=250)
        .map(|last| (Ipv4Addr::new(10, 0, 0, last), route))
        .collect()
}

fn own() -> OwnAddresses {
    let public = Ipv4Addr::new(192, 0, 2, 1);
    OwnAddresses {
        public: [public].into(),
        local: [public, Ipv4Addr::new(10, 0, 0, 254)].into(),
    }
}

/// One round of the reconciler; answers with how much there was to do.
fn round(services: &[Service], books: &mut Books, tables: &mut Memory) -> Plan {
    let desired = desired(services, &routes(), &own());
    let plan = Plan::between(
        &books.actual,
        &desired,
        &mut books.frontend_slots,
        &mut books.backend_slots,
    );
    apply(&plan, books, tables).unwrap();
    plan
}

fn books(tables: &mut Memory) -> Books {
    Books::open(tables.read().unwrap(), 64, 256)
}

#[test]
fn a_second_round_has_nothing_to_do() {
    let mut tables = Memory::default();
    let mut books = books(&mut tables);
    let services = [service(
        35000,
        Protocols::Both,
        vec![backend(1, 80, BackendState::Active)],
    )];
    assert!(!round(&services, &mut books, &mut tables).is_empty());
    assert!(round(&services, &mut books, &mut tables).is_empty());
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
    assert_eq!(tables.sets[&frontend.set_index()].count, 1);
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
        &routes(),
        &own(),
    );
    assert!(desired.backends.is_empty());
    assert!(
        desired
            .frontends
            .values()
            .all(|frontend| frontend.backends.is_empty())
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
    let lost = desired(&services, &Routes::new(), &own());
    let plan = Plan::between(
        &books.actual,
        &lost,
        &mut books.frontend_slots,
        &mut books.backend_slots,
    );
    apply(&plan, &mut books, &mut tables).unwrap();
    assert_eq!(tables.backends[&0].state, Row::ACTIVE);
    assert_eq!(tables.endpoints.len(), 1);
    let frontend = tables.frontends.values().next().unwrap();
    assert_eq!(tables.sets[&frontend.set_index()].count, 0);
}

#[test]
fn own_addresses_have_the_roles_that_they_play() {
    let desired = desired(&[], &routes(), &own());
    let roles = |address: [u8; 4]| desired.addresses[&Ipv4::new(address)];
    assert_eq!(roles([192, 0, 2, 1]), Address::PUBLIC | Address::LOCAL);
    assert_eq!(
        roles([10, 0, 0, 254]),
        Address::TRANSLATION | Address::LOCAL
    );
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
    let mut books = Books::open(tables.read().unwrap(), 1, 1);
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

fn any_services() -> impl Strategy<Value = Vec<Service>> {
    let states = prop_oneof![
        Just(BackendState::Active),
        Just(BackendState::Draining),
        Just(BackendState::Leaving { until: 1 }),
    ];
    let backends = prop::collection::btree_map(0u8..12, states, 0..6);
    let protocols = prop_oneof![
        Just(Protocols::Tcp),
        Just(Protocols::Udp),
        Just(Protocols::Both)
    ];
    let one = (protocols, backends, any::<bool>());
    prop::collection::btree_map(35000u16..35006, one, 0..6).prop_map(|services| {
        let build = |(port, (protocols, backends, draining)): (u16, (_, BTreeMap<u8, _>, _))| {
            let backends = backends
                .into_iter()
                .map(|(last, state)| backend(last, 80, state));
            Service {
                draining,
                ..service(port, protocols, backends.collect())
            }
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
}
