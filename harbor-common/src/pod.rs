//! Permission for user space to copy the shared structures to and from maps.

use crate::{
    addr::{Address, Ipv4},
    backend::{Backend, Endpoint},
    flow::{Expired, Flow, FlowKey, RingSlot},
    frontend::{BackendSet, Frontend},
    maps::Meta,
    stats::FrontendCounters,
};

macro_rules! pod {
    ($($type:ty),+ $(,)?) => {$(
        // SAFETY: repr(C), only integers and arrays of them, no implicit padding: each type's size
        // is asserted to be the sum of its fields, so every byte is initialised and any value valid.
        unsafe impl aya::Pod for $type {}
    )+};
}

pod!(
    Address,
    Backend,
    BackendSet,
    Endpoint,
    Expired,
    Flow,
    FlowKey,
    Frontend,
    FrontendCounters,
    Ipv4,
    Meta,
    RingSlot,
);
