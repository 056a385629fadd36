//! The tables of each family, so that one packet path serves both.

use aya_ebpf::btf_maps::HashMap;
use harbor_common::{
    addr::{Ipv4, Ipv6},
    flow::{Flow, FlowKey, RingSlot},
};

use crate::{
    maps::{
        CONTEXT, CONTEXT6, Context, FLOW_ENTRIES, FLOWS, FLOWS6, RING, RING6, SCRATCH, SCRATCH6,
        Scratch,
    },
    stage::parse::Parse,
};

/// The flow table of a family.
pub type FlowMap<A> = HashMap<FlowKey<A>, Flow<A>, FLOW_ENTRIES>;

/// A family with its tables.
pub trait Stack: Parse + 'static {
    /// `flows` or `flows6`.
    fn flows() -> &'static FlowMap<Self>;

    /// An element of `ring` or `ring6`.
    fn ring_slot(index: u32) -> Option<*mut RingSlot<Self>>;

    /// This CPU's place for what is known of the packet at hand.
    fn context() -> Option<*mut Context<Self>>;

    /// This CPU's place for a flow that is taken over.
    fn scratch() -> Option<*mut Scratch<Self>>;
}

impl Stack for Ipv4 {
    #[inline(always)]
    fn flows() -> &'static FlowMap<Self> {
        &FLOWS
    }

    #[inline(always)]
    fn ring_slot(index: u32) -> Option<*mut RingSlot<Self>> {
        RING.get_ptr_mut(index)
    }

    #[inline(always)]
    fn context() -> Option<*mut Context<Self>> {
        CONTEXT.get_ptr_mut(0)
    }

    #[inline(always)]
    fn scratch() -> Option<*mut Scratch<Self>> {
        SCRATCH.get_ptr_mut(0)
    }
}

impl Stack for Ipv6 {
    #[inline(always)]
    fn flows() -> &'static FlowMap<Self> {
        &FLOWS6
    }

    #[inline(always)]
    fn ring_slot(index: u32) -> Option<*mut RingSlot<Self>> {
        RING6.get_ptr_mut(index)
    }

    #[inline(always)]
    fn context() -> Option<*mut Context<Self>> {
        CONTEXT6.get_ptr_mut(0)
    }

    #[inline(always)]
    fn scratch() -> Option<*mut Scratch<Self>> {
        SCRATCH6.get_ptr_mut(0)
    }
}
