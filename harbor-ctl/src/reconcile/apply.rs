//! Carries a plan out, step by step, and keeps the picture of the kernel's state true: each step
//! that succeeded is noted at once, so a failure half way leaves a plan for the next time.

use harbor_common::{
    addr::Ip,
    backend::{Backend, Endpoint, Sources},
    frontend::{BackendSet, Frontend, TurnTable},
};

use super::{
    acl::Acl,
    actual::Actual,
    keys::FrontendKey,
    plan::{Idle, Plan},
    table_mirror::TableMirror,
};

/// The tables of the datapath, as a plan writes them.
pub(crate) trait Tables {
    type Error;

    /// Everything that the kernel holds.
    fn read(&mut self) -> Result<Actual, Self::Error>;
    fn put_address(&mut self, address: Ip, roles: u32) -> Result<(), Self::Error>;
    fn remove_address(&mut self, address: Ip) -> Result<(), Self::Error>;
    fn put_sources(&mut self, element: u32, sources: &Sources) -> Result<(), Self::Error>;
    fn put_backend(&mut self, slot: u32, row: &Backend) -> Result<(), Self::Error>;
    /// Zeroes what the datapath has learnt of the slot's former tenant.
    fn reset_backend(&mut self, slot: u32) -> Result<(), Self::Error>;
    fn put_endpoint(&mut self, endpoint: Endpoint, slot: u32) -> Result<(), Self::Error>;
    fn remove_endpoint(&mut self, endpoint: Endpoint) -> Result<(), Self::Error>;
    fn put_acl(&mut self, list: u32, acl: &Acl) -> Result<(), Self::Error>;
    fn remove_acl(&mut self, list: u32, acl: &Acl) -> Result<(), Self::Error>;
    fn put_turns(&mut self, element: u32, table: &TurnTable) -> Result<(), Self::Error>;
    fn put_set(&mut self, index: u32, set: &BackendSet) -> Result<(), Self::Error>;
    fn put_frontend(&mut self, index: u32, frontend: &Frontend) -> Result<(), Self::Error>;
    /// Zeroes the counters and the state of a frontend slot.
    fn reset_slot(&mut self, slot: u32) -> Result<(), Self::Error>;
    /// Waits until no packet looks at what was replaced before.
    fn wait_for_readers(&mut self) -> Result<(), Self::Error>;
}

/// Carries the plan out.
pub(crate) fn apply<T: Tables>(
    plan: &Plan,
    books: &mut TableMirror,
    tables: &mut T,
) -> Result<(), T::Error> {
    for (address, roles) in &plan.grant {
        tables.put_address(*address, *roles)?;
        books.actual.addresses.insert(*address, *roles);
    }
    add_backends(plan, books, tables)?;
    for (list, acl) in &plan.acls {
        tables.put_acl(*list, acl)?;
        books.actual.acls.insert(*list, acl.clone());
    }
    for (element, turns) in &plan.turns {
        tables.put_turns(*element, &turns.table())?;
        books.actual.turns.insert(*element, turns.clone());
    }
    for (key, frontend, sets) in &plan.frontends {
        put_frontend(*key, frontend, sets, books, tables)?;
    }
    for key in &plan.ended {
        tables.put_frontend(key.index(), &Frontend::default())?;
        if let Some((frontend, _)) = books.actual.frontends.remove(key) {
            books.unsettled.insert(frontend.slot);
            books.free.frontends.release(frontend.slot);
        }
    }
    for (slot, row) in &plan.gone {
        tables.put_backend(*slot, row)?;
        books.actual.note_backend(*slot, *row);
        books.free.backends.release(*slot);
    }
    for endpoint in &plan.strangers {
        tables.remove_endpoint(*endpoint)?;
        books.actual.endpoints.remove(endpoint);
    }
    give_back(&plan.idle, books, tables)?;
    for address in &plan.revoke {
        tables.remove_address(*address)?;
        books.actual.addresses.remove(address);
    }
    Ok(())
}

/// Backends before anything leads to them, and before each what its row refers to.
fn add_backends<T: Tables>(
    plan: &Plan,
    books: &mut TableMirror,
    tables: &mut T,
) -> Result<(), T::Error> {
    for (element, sources) in &plan.sources {
        tables.put_sources(*element, sources)?;
        books.actual.sources.insert(*element, *sources);
    }
    for (slot, row) in &plan.backends {
        if books.actual.generations.get(slot) != Some(&row.generation) {
            tables.reset_backend(*slot)?;
        }
        tables.put_backend(*slot, row)?;
        books.actual.note_backend(*slot, *row);
    }
    for (endpoint, slot) in &plan.endpoints {
        tables.put_endpoint(*endpoint, *slot)?;
        books.actual.endpoints.insert(*endpoint, *slot);
    }
    Ok(())
}

fn put_frontend<T: Tables>(
    key: FrontendKey,
    frontend: &Frontend,
    sets: &[BackendSet; 2],
    books: &mut TableMirror,
    tables: &mut T,
) -> Result<(), T::Error> {
    if books.unsettled.contains(&frontend.slot) {
        tables.wait_for_readers()?;
        books.unsettled.clear();
    }
    if !books.actual.frontends.contains_key(&key) {
        tables.reset_slot(frontend.slot)?;
    }
    for (family, set) in sets.iter().enumerate() {
        tables.put_set(frontend.set_index(family as u32), set)?;
    }
    tables.put_frontend(key.index(), frontend)?;
    books.unsettled.insert(frontend.slot);
    books
        .actual
        .frontends
        .insert(key, (*frontend, Box::new(*sets)));
    Ok(())
}

/// Frees elements that nothing refers to, once no packet reads them.
fn give_back<T: Tables>(
    idle: &Idle,
    books: &mut TableMirror,
    tables: &mut T,
) -> Result<(), T::Error> {
    if idle.is_empty() {
        return Ok(());
    }
    tables.wait_for_readers()?;
    books.unsettled.clear();
    for list in &idle.acls {
        if let Some(acl) = books.actual.acls.get(list) {
            tables.remove_acl(*list, acl)?;
        }
        books.actual.acls.remove(list);
        books.free.acls.release(*list);
    }
    for element in &idle.turns {
        books.actual.turns.remove(element);
        books.free.turns.release(*element);
    }
    for element in &idle.sources {
        books.actual.sources.remove(element);
        books.free.sources.release(*element);
    }
    Ok(())
}
