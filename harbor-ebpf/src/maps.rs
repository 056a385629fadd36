//! Every table of the datapath: who writes it, who reads it, what a miss means.
//!
//! Names, sizes and layouts are `harbor_common::maps`; the loader pins each under its name.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, PerCpuArray},
    macros::btf_map,
};
use harbor_common::{
    addr::{Address, Ipv4},
    backend::{Backend, Endpoint},
    flow::{Flow, FlowKey, RingSlot},
    frontend::{BackendSet, Frontend},
    maps::{
        ADDRESS_SLOTS, BACKEND_SLOTS, DEFAULT_FLOWS, FRONTEND_INDEXES, FRONTEND_SLOTS, Meta,
        RING_SLOTS,
    },
    stats::FrontendCounters,
    verdict::VERDICT_NUMBERS,
};

/// Facts about the installation. Written by the agent; the datapath does not read it.
#[btf_map(name = "meta")]
pub static META: Array<Meta, 1> = Array::new();

/// (protocol, port) to frontend. Written by the agent, one value at a time; read per packet.
/// Generation 0 means "not ours".
#[btf_map(name = "frontends")]
pub static FRONTENDS: Array<Frontend, FRONTEND_INDEXES> = Array::new();

/// Five-tuple to finished translation, two entries a flow. Written by the datapath alone; a miss
/// means "new flow", never an error. Not an LRU: a flood must not evict a live flow.
#[btf_map(name = "flows")]
pub static FLOWS: HashMap<FlowKey, Flow, { 2 * DEFAULT_FLOWS }> = HashMap::new();

/// Own addresses. Written by the agent; read when no flow matched. A miss means "not ours".
#[btf_map(name = "addresses")]
pub static ADDRESSES: HashMap<Ipv4, Address, ADDRESS_SLOTS> = HashMap::new();

/// Two backend sets a frontend slot. Written by the agent while the other one is in force.
#[btf_map(name = "backend_sets")]
pub static BACKEND_SETS: Array<BackendSet, { 2 * FRONTEND_SLOTS }> = Array::new();

/// Round robin hands, one a frontend slot. Written by the datapath alone.
#[btf_map(name = "cursors")]
pub static CURSORS: Array<u64, FRONTEND_SLOTS> = Array::new();

/// Backend slots. Written by the agent; read per packet to learn whether a flow's backend lives.
#[btf_map(name = "backends")]
pub static BACKENDS: Array<Backend, BACKEND_SLOTS> = Array::new();

/// Endpoint to backend slot. Written by the agent; read when a packet for the translation range
/// matched no flow. A miss means "a stranger".
#[btf_map(name = "endpoints")]
pub static ENDPOINTS: HashMap<Endpoint, u32, BACKEND_SLOTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// One hand over the latest flows. Written by the datapath alone: a new flow takes the slot that
/// its cookie names, and its former holder goes if it still is half-open.
#[btf_map(name = "ring")]
pub static RING: Array<RingSlot, { RING_SLOTS as usize }> = Array::new();

/// The next flow's cookie. Written by the datapath alone.
#[btf_map(name = "cookies")]
pub static COOKIES: Array<u64, 1> = Array::new();

/// What each frontend slot has carried. Written by `account`, read by the agent.
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<FrontendCounters, FRONTEND_SLOTS> = PerCpuArray::new();

/// How often each verdict was reached. Written by `account`, read by the agent.
#[btf_map(name = "verdicts")]
pub static VERDICTS: PerCpuArray<u64, VERDICT_NUMBERS> = PerCpuArray::new();
