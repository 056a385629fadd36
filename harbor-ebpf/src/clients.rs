//! Counts the flows that are kept: of each client at each port, of each client at all ports, and all
//! together.
//!
//! A flow is counted by whoever sets [`Flow::KEPT`] in its forward entry, and taken out by whoever
//! clears the bit or retires the entry that has it, so each is counted once.
//!
//! [`Flow::KEPT`]: harbor_common::flow::Flow::KEPT

use aya_ebpf::bindings::BPF_NOEXIST;
use harbor_common::{addr::Family, client::ClientKey};

use crate::{
    atomic,
    maps::{CLIENTS, FRONTEND_STATE, TOTALS},
};

/// Counts a flow of a client at a frontend.
#[inline(never)]
pub fn keep<A: Family>(frontend: u32, client: &A) -> bool {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*totals).kept, 1) };
    }
    if let Some(state) = FRONTEND_STATE.get_ptr_mut(frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::add(&raw mut (*state).kept, 1) };
    }
    let mut key = ClientKey::new(frontend, client);
    raise(&key);
    key.frontend = ClientKey::ALL_PORTS;
    raise(&key);
    true
}

/// Takes out a flow that was counted.
#[inline(never)]
pub fn release<A: Family>(frontend: u32, client: &A) -> bool {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::subtract(&raw mut (*totals).kept) };
    }
    if let Some(state) = FRONTEND_STATE.get_ptr_mut(frontend) {
        // SAFETY: a field of a map value, aligned to 8.
        unsafe { atomic::subtract(&raw mut (*state).kept) };
    }
    let mut key = ClientKey::new(frontend, client);
    lower(&key);
    key.frontend = ClientKey::ALL_PORTS;
    lower(&key);
    true
}

/// How many flows of all clients are kept.
#[inline(always)]
pub fn all() -> u64 {
    match TOTALS.get_ptr(0) {
        // SAFETY: a field of a map value, aligned to 8.
        Some(totals) => unsafe { (&raw const (*totals).kept).read_volatile() },
        None => 0,
    }
}

/// Whether a client keeps as many flows as this, at the key's frontend or at all.
#[inline(always)]
pub fn has(key: &ClientKey, most: u64) -> bool {
    match CLIENTS.get_ptr(key) {
        // SAFETY: a map value, aligned to 8.
        Some(count) => unsafe { count.read_volatile() >= most },
        None => false,
    }
}

#[inline(always)]
fn raise(key: &ClientKey) {
    let is_new =
        CLIENTS.get_ptr(key).is_none() && CLIENTS.insert(key, 1, u64::from(BPF_NOEXIST)).is_ok();
    if !is_new && let Some(count) = CLIENTS.get_ptr_mut(key) {
        // SAFETY: a map value, aligned to 8.
        unsafe { atomic::add(count, 1) };
    }
}

#[inline(always)]
fn lower(key: &ClientKey) {
    if let Some(count) = CLIENTS.get_ptr_mut(key) {
        // SAFETY: a map value, aligned to 8.
        unsafe { atomic::subtract(count) };
    }
}
