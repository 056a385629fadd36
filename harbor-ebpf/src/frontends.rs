//! Frontends and their backend sets, as the agent has them served.

use harbor_common::{
    frontend::{BackendSet, Frontend},
    protocol::Protocol,
};

use crate::maps::{BACKEND_SETS, FRONTENDS};

/// The frontend of a protocol and port, served or not.
#[inline(always)]
pub fn at(protocol: Protocol, port: u16) -> Option<Frontend> {
    let frontend = FRONTENDS.get_ptr(Frontend::index(protocol, port))?;
    // SAFETY: an aligned element of eight bytes, which the agent changes as one value; the volatile
    // read takes slot and generation at once.
    let word = unsafe { frontend.cast::<u64>().read_volatile() };
    Some(Frontend {
        slot: word as u32,
        generation: (word >> 32) as u32,
    })
}

/// A frontend's set in force.
#[inline(always)]
pub fn set(frontend: &Frontend, family: u32) -> Option<&'static BackendSet> {
    BACKEND_SETS.get(frontend.set_index(family))
}
