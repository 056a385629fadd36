//! The kernel's tables, as the reconciler reads and writes them.

use std::os::fd::AsFd as _;

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, PerCpuValues};
use harbor_common::{
    addr::{Address, Ipv4},
    backend::{Backend, Endpoint},
    frontend::{BackendSet, Frontend},
    maps::{ADDRESSES, BACKEND_SETS, BACKENDS, COUNTERS, CURSORS, ENDPOINTS, FRONTENDS},
    stats::FrontendCounters,
};

use super::{DatapathError, Pins, Tried as _, batch};
use crate::reconcile::{Actual, FrontendKey, Tables};

/// The pinned maps that the agent writes, opened.
pub(crate) struct LiveTables {
    addresses: HashMap<MapData, Ipv4, Address>,
    frontends: Array<MapData, Frontend>,
    sets: Array<MapData, BackendSet>,
    backends: Array<MapData, Backend>,
    endpoints: HashMap<MapData, Endpoint, u32>,
    cursors: Array<MapData, u64>,
    counters: PerCpuArray<MapData, FrontendCounters>,
    /// `backends` and `frontends` once more, to be read as a whole.
    rows: MapData,
    index: MapData,
    cpus: usize,
}

/// Opens a pinned map whose shape was checked before.
pub(super) fn open(pins: &Pins, name: &str) -> Result<Map, DatapathError> {
    Map::from_map_data(data(pins, name)?).tried(|| format!("cannot open map {name}"))
}

/// Opens a pinned map for [`batch`].
pub(super) fn data(pins: &Pins, name: &str) -> Result<MapData, DatapathError> {
    MapData::from_pin(pins.map(name)).tried(|| format!("cannot open map {name}"))
}

impl LiveTables {
    pub(super) fn open(pins: &Pins) -> Result<Self, DatapathError> {
        let opened = |name: &'static str| move || format!("cannot open map {name}");
        Ok(Self {
            addresses: open(pins, ADDRESSES)?.try_into().tried(opened(ADDRESSES))?,
            frontends: open(pins, FRONTENDS)?.try_into().tried(opened(FRONTENDS))?,
            sets: open(pins, BACKEND_SETS)?
                .try_into()
                .tried(opened(BACKEND_SETS))?,
            backends: open(pins, BACKENDS)?.try_into().tried(opened(BACKENDS))?,
            endpoints: open(pins, ENDPOINTS)?.try_into().tried(opened(ENDPOINTS))?,
            cursors: open(pins, CURSORS)?.try_into().tried(opened(CURSORS))?,
            counters: open(pins, COUNTERS)?.try_into().tried(opened(COUNTERS))?,
            rows: data(pins, BACKENDS)?,
            index: data(pins, FRONTENDS)?,
            cpus: aya::util::nr_cpus()
                .map_err(|(_, error)| error)
                .tried(|| "cpus".into())?,
        })
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
        let rows = self.rows.fd().as_fd();
        batch::for_each(rows, |slot: &u32, row: &Backend| {
            actual.note_backend(*slot, *row)
        })
        .tried(|| format!("cannot read {BACKENDS}"))?;
        let mut served = Vec::new();
        batch::for_each(self.index.fd().as_fd(), |index: &u32, found: &Frontend| {
            if found.is_served() {
                served.push((*index, *found));
            }
        })
        .tried(|| format!("cannot read {FRONTENDS}"))?;
        for (index, frontend) in served {
            let set = self.sets.get(&frontend.set_index(), 0);
            let set = set.tried(|| format!("cannot read {BACKEND_SETS}"))?;
            actual
                .frontends
                .insert(FrontendKey::from_index(index), (frontend, set));
        }
        Ok(actual)
    }

    fn put_address(&mut self, address: Ipv4, roles: u32) -> Result<(), DatapathError> {
        self.addresses
            .insert(address, Address { roles }, 0)
            .tried(|| format!("cannot write {address} to {ADDRESSES}"))
    }

    fn remove_address(&mut self, address: Ipv4) -> Result<(), DatapathError> {
        self.addresses
            .remove(&address)
            .tried(|| format!("cannot remove {address} from {ADDRESSES}"))
    }

    fn put_backend(&mut self, slot: u32, row: &Backend) -> Result<(), DatapathError> {
        self.backends
            .set(slot, row, 0)
            .tried(|| format!("cannot write slot {slot} of {BACKENDS}"))
    }

    fn put_endpoint(&mut self, endpoint: Endpoint, slot: u32) -> Result<(), DatapathError> {
        self.endpoints.insert(endpoint, slot, 0).tried(|| {
            format!(
                "cannot write {}:{} to {ENDPOINTS}",
                endpoint.address, endpoint.port
            )
        })
    }

    fn remove_endpoint(&mut self, endpoint: Endpoint) -> Result<(), DatapathError> {
        self.endpoints.remove(&endpoint).tried(|| {
            format!(
                "cannot remove {}:{} from {ENDPOINTS}",
                endpoint.address, endpoint.port
            )
        })
    }

    fn put_set(&mut self, index: u32, set: &BackendSet) -> Result<(), DatapathError> {
        self.sets
            .set(index, set, 0)
            .tried(|| format!("cannot write {index} of {BACKEND_SETS}"))
    }

    fn put_frontend(&mut self, index: u32, frontend: &Frontend) -> Result<(), DatapathError> {
        self.frontends
            .set(index, frontend, 0)
            .tried(|| format!("cannot write {index} of {FRONTENDS}"))
    }

    fn reset_slot(&mut self, slot: u32) -> Result<(), DatapathError> {
        let what = || format!("cannot reset the counters of frontend slot {slot}");
        let zero = PerCpuValues::try_from(vec![FrontendCounters::default(); self.cpus]);
        self.counters.set(slot, zero.tried(what)?, 0).tried(what)?;
        self.cursors.set(slot, 0, 0).tried(what)
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
