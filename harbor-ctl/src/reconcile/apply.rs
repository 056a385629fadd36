//! Carries a plan out, step by step, and keeps the picture of the kernel's state true: each step
//! that succeeded is noted at once, so a failure half way leaves a plan for the next time.

use std::collections::BTreeSet;

use harbor_common::{
    addr::Ipv4,
    backend::{Backend, Endpoint},
    frontend::{BackendSet, Frontend},
};

use super::{Actual, FrontendKey, Plan, Slots};

/// The tables of the datapath, as a plan writes them.
pub(crate) trait Tables {
    type Error;

    /// Everything that the kernel holds.
    fn read(&mut self) -> Result<Actual, Self::Error>;
    fn put_address(&mut self, address: Ipv4, roles: u32) -> Result<(), Self::Error>;
    fn remove_address(&mut self, address: Ipv4) -> Result<(), Self::Error>;
    fn put_backend(&mut self, slot: u32, row: &Backend) -> Result<(), Self::Error>;
    fn put_endpoint(&mut self, endpoint: Endpoint, slot: u32) -> Result<(), Self::Error>;
    fn remove_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Self::Error>;
    fn put_set(&mut self, index: u32, set: &BackendSet) -> Result<(), Self::Error>;
    fn put_frontend(&mut self, index: u32, frontend: &Frontend) -> Result<(), Self::Error>;
    /// Zeroes the counters and the round robin hand of a frontend slot.
    fn reset_slot(&mut self, slot: u32) -> Result<(), Self::Error>;
    /// Waits until no packet looks at what was replaced before.
    fn wait_for_readers(&mut self) -> Result<(), Self::Error>;
}

/// What apply keeps between runs.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) actual: Actual,
    pub(crate) frontend_slots: Slots,
    pub(crate) backend_slots: Slots,
    /// Frontend slots whose set out of force may still be read by a packet.
    pub(crate) unsettled: BTreeSet<u32>,
}

/// Carries the plan out.
pub(crate) fn apply<T: Tables>(
    plan: &Plan,
    books: &mut Books,
    tables: &mut T,
) -> Result<(), T::Error> {
    for (address, roles) in &plan.grant {
        tables.put_address(*address, *roles)?;
        books.actual.addresses.insert(*address, *roles);
    }
    for (slot, row) in &plan.backends {
        tables.put_backend(*slot, row)?;
        books.actual.note_backend(*slot, *row);
    }
    for (endpoint, slot) in &plan.endpoints {
        tables.put_endpoint(*endpoint, *slot)?;
        books.actual.endpoints.insert(*endpoint, *slot);
    }
    for (key, frontend, set) in &plan.frontends {
        put_frontend(*key, frontend, set, books, tables)?;
    }
    for key in &plan.ended {
        tables.put_frontend(key.index(), &Frontend::default())?;
        if let Some((frontend, _)) = books.actual.frontends.remove(key) {
            books.unsettled.insert(frontend.slot);
            books.frontend_slots.release(frontend.slot);
        }
    }
    for (slot, row) in &plan.gone {
        tables.put_backend(*slot, row)?;
        books.actual.note_backend(*slot, *row);
        books.backend_slots.release(*slot);
    }
    for endpoint in &plan.strangers {
        tables.remove_endpoint(*endpoint)?;
        books.actual.endpoints.remove(endpoint);
    }
    for address in &plan.revoke {
        tables.remove_address(*address)?;
        books.actual.addresses.remove(address);
    }
    Ok(())
}

fn put_frontend<T: Tables>(
    key: FrontendKey,
    frontend: &Frontend,
    set: &BackendSet,
    books: &mut Books,
    tables: &mut T,
) -> Result<(), T::Error> {
    if books.unsettled.contains(&frontend.slot) {
        tables.wait_for_readers()?;
        books.unsettled.clear();
    }
    if !books.actual.frontends.contains_key(&key) {
        tables.reset_slot(frontend.slot)?;
    }
    tables.put_set(frontend.set_index(), set)?;
    tables.put_frontend(key.index(), frontend)?;
    books.unsettled.insert(frontend.slot);
    books.actual.frontends.insert(key, (*frontend, *set));
    Ok(())
}

impl Books {
    /// Books for a kernel state that was just read.
    pub(crate) fn open(actual: Actual, frontend_slots: u32, backend_slots: u32) -> Self {
        let frontends = actual.frontends.values().map(|(frontend, _)| frontend.slot);
        let backends = actual.backends.values().map(|(slot, _)| *slot);
        Self {
            frontend_slots: Slots::new(frontend_slots, frontends),
            backend_slots: Slots::new(backend_slots, backends),
            unsettled: actual
                .frontends
                .values()
                .map(|(frontend, _)| frontend.slot)
                .collect(),
            actual,
        }
    }
}
