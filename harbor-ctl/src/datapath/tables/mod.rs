//! The kernel's tables, as the reconciler reads and writes them.

pub(super) mod batch;
pub(super) mod clients;
pub(super) mod counters;
pub(super) mod dump;
pub(super) mod shares;

use std::{collections::BTreeSet, os::fd::AsFd as _};

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, PerCpuArray, PerCpuValues, lpm_trie::Key},
};
use harbor_common::{
    addr::{Address, Ip},
    backend::{Backend, BackendState, Endpoint, Sources},
    frontend::{AclNetwork, BackendSet, Frontend, FrontendState, TurnTable},
    maps::{
        ACL, ADDRESSES, BACKEND_SETS, BACKEND_STATE, BACKENDS, COUNTERS, ENDPOINTS, FRONTEND_STATE,
        FRONTENDS, SOURCES, TURNS,
    },
    stats::FrontendCounters,
};

use super::{
    error::{DatapathError, Tried as _},
    program::pins::Pins,
};
use crate::{
    model::{Deviation, Difference},
    reconcile::{Acl, Actual, FrontendKey, Tables},
};

/// Bits of an entry's prefix that name its list.
const LIST_BITS: u32 = 32;

/// The pinned maps that the reconciler writes, opened.
pub(crate) struct LiveTables {
    addresses: HashMap<MapData, Ip, Address>,
    frontends: Array<MapData, Frontend>,
    frontend_state: Array<MapData, FrontendState>,
    sets: Array<MapData, BackendSet>,
    turns: Array<MapData, TurnTable>,
    acl: LpmTrie<MapData, AclNetwork, u32>,
    backends: Array<MapData, Backend>,
    backend_state: Array<MapData, BackendState>,
    endpoints: HashMap<MapData, Endpoint, u32>,
    sources: Array<MapData, Sources>,
    counters: PerCpuArray<MapData, FrontendCounters>,
    /// `backends` and `frontends` once more, to be read as a whole.
    rows: MapData,
    index: MapData,
    cpus: usize,
}

/// Opens a pinned map for [`batch`].
pub(super) fn data(pins: &Pins, name: &str) -> Result<MapData, DatapathError> {
    MapData::from_pin(pins.map(name)).tried(|| format!("cannot open map {name}"))
}

/// Opens a pinned map whose shape was checked before.
pub(super) fn open<M>(pins: &Pins, name: &str) -> Result<M, DatapathError>
where
    M: TryFrom<Map>,
    M::Error: std::error::Error,
{
    let what = || format!("cannot open map {name}");
    let map = Map::from_map_data(data(pins, name)?).tried(what)?;
    M::try_from(map).tried(what)
}

/// Writes an element of an array.
pub(super) fn set<V: Pod>(
    map: &mut Array<MapData, V>,
    (name, index): (&str, u32),
    value: &V,
) -> Result<(), DatapathError> {
    map.set(index, value, 0)
        .tried(|| format!("cannot write {index} of {name}"))
}

impl LiveTables {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        Ok(Self {
            addresses: open(pins, ADDRESSES)?,
            frontends: open(pins, FRONTENDS)?,
            frontend_state: open(pins, FRONTEND_STATE)?,
            sets: open(pins, BACKEND_SETS)?,
            turns: open(pins, TURNS)?,
            acl: open(pins, ACL)?,
            backends: open(pins, BACKENDS)?,
            backend_state: open(pins, BACKEND_STATE)?,
            endpoints: open(pins, ENDPOINTS)?,
            sources: open(pins, SOURCES)?,
            counters: open(pins, COUNTERS)?,
            rows: data(pins, BACKENDS)?,
            index: data(pins, FRONTENDS)?,
            cpus: aya::util::nr_cpus()
                .map_err(|(_, error)| error)
                .tried(|| "cpus".into())?,
        })
    }

    /// Turn tables that do not say what the sets that use them are to have; writes those anew if told to.
    pub(crate) fn verify_turns(
        &mut self,
        written: &Actual,
        repair: bool,
    ) -> Result<Vec<Difference>, DatapathError> {
        let mut differences = Vec::new();
        for (element, turns) in &written.turns {
            let found = self.turns.get(element, 0);
            let found = found.tried(|| format!("cannot read {TURNS}"))?;
            let table = turns.table();
            if found == table {
                continue;
            }
            if repair {
                set(&mut self.turns, (TURNS, *element), &table)?;
            }
            differences.push(Difference {
                map: TURNS.into(),
                element: element.to_string(),
                problem: Deviation::Changed,
            });
        }
        Ok(differences)
    }

    fn read_backends(&self, actual: &mut Actual) -> Result<(), DatapathError> {
        let rows = self.rows.fd().as_fd();
        batch::for_each(rows, |slot: &u32, row: &Backend| {
            actual.note_backend(*slot, *row)
        })
        .tried(|| format!("cannot read {BACKENDS}"))?;
        let lists: BTreeSet<u32> = actual.backends.values().map(|(_, r)| r.sources).collect();
        for element in lists {
            let list = self.sources.get(&element, 0);
            let list = list.tried(|| format!("cannot read {SOURCES}"))?;
            actual.sources.insert(element, list);
        }
        Ok(())
    }

    fn read_frontends(&self, actual: &mut Actual) -> Result<(), DatapathError> {
        let mut served = Vec::new();
        batch::for_each(self.index.fd().as_fd(), |index: &u32, found: &Frontend| {
            if found.is_served() {
                served.push((*index, *found));
            }
        })
        .tried(|| format!("cannot read {FRONTENDS}"))?;
        for (index, frontend) in served {
            let mut sets = [BackendSet::default(); 2];
            for (family, set) in sets.iter_mut().enumerate() {
                let found = self.sets.get(&frontend.set_index(family as u32), 0);
                *set = found.tried(|| format!("cannot read {BACKEND_SETS}"))?;
            }
            actual
                .frontends
                .insert(FrontendKey::from_index(index), (frontend, Box::new(sets)));
        }
        Ok(())
    }
}

impl Tables for LiveTables {
    type Error = DatapathError;

    fn read(&mut self) -> Result<Actual, DatapathError> {
        let mut actual = Actual::default();
        for entry in self.addresses.iter() {
            let (address, value) = entry.tried(|| format!("cannot read {ADDRESSES}"))?;
            actual.addresses.insert(address, value.roles);
        }
        for entry in self.endpoints.iter() {
            let (endpoint, slot) = entry.tried(|| format!("cannot read {ENDPOINTS}"))?;
            actual.endpoints.insert(endpoint, slot);
        }
        for entry in self.acl.iter() {
            let (key, says) = entry.tried(|| format!("cannot read {ACL}"))?;
            let AclNetwork { list, address } = key.data();
            let bits = key.prefix_len().saturating_sub(LIST_BITS);
            let acl = actual.acls.entry(list).or_default();
            acl.networks.insert((bits, address), says);
        }
        self.read_backends(&mut actual)?;
        self.read_frontends(&mut actual)?;
        actual.note_turns();
        Ok(actual)
    }

    fn put_address(&mut self, address: Ip, roles: u32) -> Result<(), DatapathError> {
        self.addresses
            .insert(address, Address { roles }, 0)
            .tried(|| format!("cannot write {address} to {ADDRESSES}"))
    }

    fn remove_address(&mut self, address: Ip) -> Result<(), DatapathError> {
        self.addresses
            .remove(&address)
            .tried(|| format!("cannot remove {address} from {ADDRESSES}"))
    }

    fn put_sources(&mut self, element: u32, sources: &Sources) -> Result<(), DatapathError> {
        set(&mut self.sources, (SOURCES, element), sources)
    }

    fn put_backend(&mut self, slot: u32, row: &Backend) -> Result<(), DatapathError> {
        set(&mut self.backends, (BACKENDS, slot), row)
    }

    fn reset_backend(&mut self, slot: u32) -> Result<(), DatapathError> {
        let zero = BackendState::default();
        set(&mut self.backend_state, (BACKEND_STATE, slot), &zero)
    }

    fn put_endpoint(&mut self, endpoint: Endpoint, slot: u32) -> Result<(), DatapathError> {
        let Endpoint { address, port, .. } = endpoint;
        self.endpoints
            .insert(endpoint, slot, 0)
            .tried(|| format!("cannot write {address} port {port} to {ENDPOINTS}"))
    }

    fn remove_endpoint(&mut self, endpoint: Endpoint) -> Result<(), DatapathError> {
        let Endpoint { address, port, .. } = endpoint;
        self.endpoints
            .remove(&endpoint)
            .tried(|| format!("cannot remove {address} port {port} from {ENDPOINTS}"))
    }

    fn put_acl(&mut self, list: u32, acl: &Acl) -> Result<(), DatapathError> {
        for ((bits, address), says) in &acl.networks {
            self.acl
                .insert(&acl_key(list, *bits, *address), says, 0)
                .tried(|| format!("cannot write list {list} of {ACL}"))?;
        }
        Ok(())
    }

    fn remove_acl(&mut self, list: u32, acl: &Acl) -> Result<(), DatapathError> {
        for (bits, address) in acl.networks.keys() {
            self.acl
                .remove(&acl_key(list, *bits, *address))
                .tried(|| format!("cannot remove list {list} from {ACL}"))?;
        }
        Ok(())
    }

    fn put_turns(&mut self, element: u32, table: &TurnTable) -> Result<(), DatapathError> {
        set(&mut self.turns, (TURNS, element), table)
    }

    fn put_set(&mut self, index: u32, backends: &BackendSet) -> Result<(), DatapathError> {
        set(&mut self.sets, (BACKEND_SETS, index), backends)
    }

    fn put_frontend(&mut self, index: u32, frontend: &Frontend) -> Result<(), DatapathError> {
        set(&mut self.frontends, (FRONTENDS, index), frontend)
    }

    fn reset_slot(&mut self, slot: u32) -> Result<(), DatapathError> {
        let what = || format!("cannot reset the counters of frontend slot {slot}");
        let zero = PerCpuValues::try_from(vec![FrontendCounters::default(); self.cpus]);
        self.counters.set(slot, zero.tried(what)?, 0).tried(what)?;
        let zero = FrontendState::default();
        set(&mut self.frontend_state, (FRONTEND_STATE, slot), &zero)
    }

    /// `MEMBARRIER_CMD_GLOBAL` returns after an RCU grace period, and programs run inside one.
    fn wait_for_readers(&mut self) -> Result<(), DatapathError> {
        // SAFETY: takes three integers and touches no memory of ours.
        let result =
            unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, 0, 0) };
        if result == 0 {
            return Ok(());
        }
        // Not to be had where tickless cores are configured: then wait longer than any packet takes.
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok(())
    }
}

fn acl_key(list: u32, bits: u32, address: Ip) -> Key<AclNetwork> {
    Key::new(LIST_BITS + bits, AclNetwork { list, address })
}
