//! The reconciler against tables in memory.

mod cases;
mod history;

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    net::{IpAddr, Ipv4Addr},
};

use harbor_common::{
    addr::{Address, Ip},
    backend::{Backend as Row, Endpoint, Sources},
    frontend::{BackendSet, Frontend, TurnTable},
};

use super::*;
use crate::model::{
    AllDown, Backend, BackendState, Doubt, Failing, Policy, PortSettings, Protocol, Protocols,
    Route, Service, Suspect,
};

/// Tables in memory that check, at each step, that no packet could trip.
#[derive(Default)]
struct Memory {
    addresses: BTreeMap<Ip, u32>,
    sources: BTreeMap<u32, Sources>,
    acls: BTreeMap<u32, Acl>,
    turns: BTreeMap<u32, TurnTable>,
    backends: BTreeMap<u32, Row>,
    endpoints: BTreeMap<Endpoint, u32>,
    sets: BTreeMap<u32, BackendSet>,
    frontends: BTreeMap<u32, Frontend>,
    waits: usize,
}

impl Memory {
    fn in_force(&self, frontend: &Frontend) -> [BackendSet; 2] {
        [0, 1].map(|family| self.sets[&frontend.set_index(family)])
    }

    /// Every frontend in force leads to rows that take flows and belong to it.
    fn check(&self) {
        for (index, frontend) in &self.frontends {
            let key = FrontendKey::from_index(*index);
            let sets = self.in_force(frontend);
            for (family, set) in sets.iter().enumerate() {
                assert_eq!(set.other_family, sets[1 - family].count);
                let acl = set.limits.acl;
                assert!(acl == 0 || self.acls.contains_key(&acl), "no list {acl}");
                assert!(set.turns == 0 || self.turns.contains_key(&set.turns));
                for slot in &set.backends[..set.count as usize] {
                    let row = self.backends[slot];
                    assert_eq!(
                        row.frontend_port, key.port,
                        "set of {key:?} leads to {row:?}"
                    );
                    assert_eq!(row.address.is_v4(), family == 0);
                    assert!(self.sources[&row.sources].count > 0);
                }
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
            let served = (*frontend, Box::new(self.in_force(frontend)));
            actual
                .frontends
                .insert(FrontendKey::from_index(*index), served);
        }
        actual.acls.clone_from(&self.acls);
        actual.note_turns();
        let used: BTreeSet<u32> = actual.backends.values().map(|(_, r)| r.sources).collect();
        let sources = self.sources.iter().filter(|(e, _)| used.contains(e));
        actual.sources = sources.map(|(e, list)| (*e, *list)).collect();
        Ok(actual)
    }
    fn put_address(&mut self, address: Ip, roles: u32) -> Result<(), Infallible> {
        self.addresses.insert(address, roles);
        Ok(())
    }
    fn remove_address(&mut self, address: Ip) -> Result<(), Infallible> {
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
    fn put_sources(&mut self, element: u32, sources: &Sources) -> Result<(), Infallible> {
        let in_use = |row: &Row| row.state != Row::GONE && row.sources == element;
        assert!(!self.backends.values().any(in_use));
        self.sources.insert(element, *sources);
        Ok(())
    }
    fn reset_backend(&mut self, _slot: u32) -> Result<(), Infallible> {
        Ok(())
    }
    fn put_acl(&mut self, list: u32, acl: &Acl) -> Result<(), Infallible> {
        assert!(self.acls.insert(list, acl.clone()).is_none());
        Ok(())
    }
    fn remove_acl(&mut self, list: u32, acl: &Acl) -> Result<(), Infallible> {
        assert_eq!(self.acls.remove(&list).as_ref(), Some(acl));
        self.check();
        Ok(())
    }
    fn put_turns(&mut self, element: u32, table: &TurnTable) -> Result<(), Infallible> {
        for frontend in self.frontends.values() {
            assert!(
                self.in_force(frontend)
                    .iter()
                    .all(|set| set.turns != element)
            );
        }
        self.turns.insert(element, *table);
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
            .any(|frontend| [0, 1].iter().any(|f| frontend.set_index(*f) == index));
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
        address: SocketAddr::new(Ipv4Addr::new(10, 0, 0, last).into(), port),
        weight: 1,
        state,
        registered_at: 0,
        announced: None,
        failing: None,
    }
}

fn backend6(last: u8, state: BackendState) -> Backend {
    Backend {
        instance: format!("six{last}"),
        address: SocketAddr::new(v6(last), 80),
        ..backend(last, 80, state)
    }
}

fn service(port: u16, protocols: Protocols, backends: Vec<Backend>) -> Service {
    Service {
        id: port.to_string(),
        name: format!("s{port}"),
        port,
        protocols,
        settings: PortSettings::default(),
        draining: false,
        created_at: 0,
        node: String::new(),
        pool: String::new(),
        revision: 0,
        backends,
        provisioned: None,
        bindings: Vec::new(),
        expires_at: None,
    }
}

fn v4(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, last).into()
}

fn v6(last: u8) -> IpAddr {
    IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()])
}

fn routes() -> Routes {
    let way = |source| Route {
        ifindex: 2,
        source,
        is_handed: false,
    };
    let each = |last| [(v4(last), way(v4(254))), (v6(last), way(v6(254)))];
    (0..=250).flat_map(each).collect()
}

fn own() -> OwnAddresses {
    let public = IpAddr::from([192, 0, 2, 1]);
    OwnAddresses {
        public: [public].into(),
        local: [public, v4(254), v6(254), v4(253)].into(),
        sources: vec![v4(253), v4(252)],
        views: BTreeMap::new(),
        shares: Vec::new(),
    }
}

fn ground<'a>(routes: &'a Routes, own: &'a OwnAddresses) -> HostView<'a> {
    HostView {
        routes,
        own,
        all_down: AllDown::UseLast,
        ejected: &NOBODY,
    }
}

/// Nobody is ejected.
static NOBODY: BTreeMap<Suspect, Doubt> = BTreeMap::new();

/// One round of the reconciler; answers with how much there was to do.
fn round(services: &[Service], books: &mut TableMirror, tables: &mut Memory) -> Plan {
    let desired = desired(services, Scope::Whole, ground(&routes(), &own()));
    let plan = Plan::between(&books.actual, &desired, &mut books.free);
    apply(&plan, books, tables).unwrap();
    plan
}

fn capacity(frontends: u32, backends: u32) -> Capacity {
    Capacity {
        frontends,
        backends,
        turns: 64,
    }
}

fn books(tables: &mut Memory) -> TableMirror {
    TableMirror::open(tables.read().unwrap(), capacity(64, 256))
}
