//! Every table of the datapath: who writes it, who reads it, what a miss means.
//!
//! Names, sizes and layouts are `harbor_common::maps`; the loader pins each under its name.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, bpf_timer},
    btf_maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, ProgramArray, RingBuf, SockMap},
    macros::btf_map,
};
use harbor_common::{
    addr::{Address, Ip, Ipv4, Ipv6},
    adoption::Adoption,
    backend::{Backend, BackendState, Endpoint, Sources},
    client::ClientKey,
    control::Control,
    event::Sighting,
    explain::Explanation,
    flow::{Flow, FlowKey, Hand, RingSlot},
    fragment::{FragmentKey, FragmentWay},
    frontend::{AclNetwork, Affinity, AffinityKey, BackendSet, Frontend, FrontendState, TurnTable},
    maps::{
        ACL_ENTRIES, ADDRESS_SLOTS, AFFINITIES, BACKEND_SLOTS, CLIENT_SLOTS, DEFAULT_FLOWS,
        EVENT_BYTES, FRAGMENT_SLOTS, FRONTEND_INDEXES, FRONTEND_SLOTS, INTERFACE_SLOTS, Meta,
        NEIGHBOUR_SLOTS, RING_SHARES, RING_SLOTS, ROUTE_SLOTS, SHARE_NUMBERS, SOURCE_LISTS,
        TURN_TABLES,
    },
    route::{Interface, Neighbour, NextHop, Route, RouteKey},
    share::Share,
    stats::{FrontendCounters, Totals},
    trace::{Trace, Traced},
    verdict::VERDICT_NUMBERS,
};

use crate::{parsed::Parsed, route::Exit, stage::icmp::Quoted, way::Way};

/// Facts about the installation. Written by the agent; the datapath does not read it.
#[btf_map(name = "meta")]
pub static META: Array<Meta, 1> = Array::new();

/// What the agent keeps telling the datapath. Read per packet.
#[btf_map(name = "control")]
pub static CONTROL: Array<Control, 1> = Array::new();

/// (protocol, port) to frontend. Written by the agent, one value at a time; read per packet.
/// Generation 0 means "not ours".
#[btf_map(name = "frontends")]
pub static FRONTENDS: Array<Frontend, FRONTEND_INDEXES> = Array::new();

/// Entries of each flow table, two a flow.
pub const FLOW_ENTRIES: usize = 2 * DEFAULT_FLOWS;

/// Five-tuple to finished translation, two entries a flow. Written by the datapath alone; a miss
/// means "new flow", never an error. Not an LRU: a flood must not evict a live flow.
#[btf_map(name = "flows")]
pub static FLOWS: HashMap<FlowKey<Ipv4>, Flow<Ipv4>, FLOW_ENTRIES> = HashMap::new();

/// The same for IPv6.
#[btf_map(name = "flows6")]
pub static FLOWS6: HashMap<FlowKey<Ipv6>, Flow<Ipv6>, FLOW_ENTRIES> = HashMap::new();

/// Own addresses. Written by the agent; read when no flow matched. A miss means "not ours".
#[btf_map(name = "addresses")]
pub static ADDRESSES: HashMap<Ip, Address, ADDRESS_SLOTS> = HashMap::new();

/// Two backend sets a family for each frontend slot. Written by the agent while the others are in
/// force; read when a flow begins.
#[btf_map(name = "backend_sets")]
pub static BACKEND_SETS: Array<BackendSet, { 4 * FRONTEND_SLOTS }> = Array::new();

/// Whose turn it is, for sets with weights or by hash. Written by the agent, aside like the sets.
#[btf_map(name = "turns")]
pub static TURNS: Array<TurnTable, TURN_TABLES> = Array::new();

/// Cursors, flow counts and token buckets. Written by the datapath; a new frontend's is cleared.
#[btf_map(name = "frontend_state")]
pub static FRONTEND_STATE: Array<FrontendState, FRONTEND_SLOTS> = Array::new();

/// Until when each frontend slot takes no new flows, `CLOCK_MONOTONIC` nanoseconds. Written by the agent.
#[btf_map(name = "closed")]
pub static CLOSED: Array<u64, FRONTEND_SLOTS> = Array::new();

/// Lists of networks that may open flows or may not. Written by the agent. A miss means the list's
/// default.
#[btf_map(name = "acl")]
pub static ACL: LpmTrie<AclNetwork, u32, ACL_ENTRIES> = LpmTrie::new();

/// How many flows a client keeps, at a frontend or at all ports. Written by the datapath. A miss means
/// none; the count that was unused for the longest is forgotten first.
#[btf_map(name = "clients")]
pub static CLIENTS: LruHashMap<ClientKey, u64, CLIENT_SLOTS> = LruHashMap::new();

/// What is counted for all ports together. Written by the datapath.
#[btf_map(name = "totals")]
pub static TOTALS: Array<Totals, 1> = Array::new();

/// The backend that a client keeps. Written by the datapath. A miss means "by policy".
#[btf_map(name = "affinity")]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity, AFFINITIES> = LruHashMap::new();

/// Backend slots. Written by the agent; read per packet to learn whether a flow's backend lives.
#[btf_map(name = "backends")]
pub static BACKENDS: Array<Backend, BACKEND_SLOTS> = Array::new();

/// What was learnt of each backend slot. Written by the datapath; a new tenant's is cleared.
#[btf_map(name = "backend_state")]
pub static BACKEND_STATE: Array<BackendState, BACKEND_SLOTS> = Array::new();

/// Endpoint to backend slot. Written by the agent; read when a packet for the translation range
/// matched no flow. A miss means "a stranger".
#[btf_map(name = "endpoints")]
pub static ENDPOINTS: HashMap<Endpoint, u32, BACKEND_SLOTS, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

/// Own addresses for packets towards backends. Written by the agent.
#[btf_map(name = "sources")]
pub static SOURCES: Array<Sources, { SOURCE_LISTS + 2 * SHARE_NUMBERS }> = Array::new();

/// Shares of pools. Written by the agent; read when a packet of one of their addresses matched no flow.
#[btf_map(name = "shares")]
pub static SHARES: Array<Share, SHARE_NUMBERS> = Array::new();

/// Hands over the latest flows. Written by the datapath alone: a new flow takes the slot that its
/// cookie names, and its former holder goes unless it is kept.
#[btf_map(name = "ring")]
pub static RING: Array<RingSlot<Ipv4>, { (RING_SHARES * RING_SLOTS) as usize }> = Array::new();

/// The same for IPv6.
#[btf_map(name = "ring6")]
pub static RING6: Array<RingSlot<Ipv6>, { (RING_SHARES * RING_SLOTS) as usize }> = Array::new();

/// The next cookie of each ring, under its first share; IPv4's before IPv6's. Written by the datapath
/// alone.
#[btf_map(name = "hands")]
pub static HANDS: Array<Hand, { 2 * RING_SHARES as usize }> = Array::new();

/// Where the later fragments of a datagram go. Written by the datapath when the first one passes, or
/// when a later one comes before it: then the stack has all of them.
#[btf_map(name = "fragments")]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentWay, FRAGMENT_SLOTS> = LruHashMap::new();

/// Ways out. Written by the agent; read when a flow begins or the ways have changed. A miss means
/// that there is no way that can be vouched for.
#[btf_map(name = "routes")]
pub static ROUTES: LpmTrie<RouteKey, Route, ROUTE_SLOTS> = LpmTrie::new();

/// Neighbour to next hop. Written by the agent. A miss means that the kernel finds it.
#[btf_map(name = "neighbours")]
pub static NEIGHBOURS: HashMap<Neighbour, u32, NEIGHBOUR_SLOTS> = HashMap::new();

/// Hardware addresses. Written by the agent, read per packet.
#[btf_map(name = "next_hops")]
pub static NEXT_HOPS: Array<NextHop, NEIGHBOUR_SLOTS> = Array::new();

/// The node's own interfaces: hardware address, whether XDP programs can send by it, which senders may
/// come in by it. Written by the agent; read per packet at XDP, and at TC when a flow begins. At XDP an
/// interface that is not there is TC's; at TC it filters no sender by itself.
#[btf_map(name = "interfaces")]
pub static INTERFACES: Array<Interface, INTERFACE_SLOTS> = Array::new();

/// What each frontend slot has carried. Written by `account`, read by the agent.
#[btf_map(name = "counters")]
pub static COUNTERS: PerCpuArray<FrontendCounters, FRONTEND_SLOTS> = PerCpuArray::new();

/// How often each verdict was reached. Written by `account`, read by the agent.
#[btf_map(name = "verdicts")]
pub static VERDICTS: PerCpuArray<u64, VERDICT_NUMBERS> = PerCpuArray::new();

/// The element of the `timer` map; the kernel finds the timer by its type's name.
#[repr(C)]
pub struct Timer {
    /// Fires about once a second.
    pub timer: bpf_timer,
    /// How many flows a walk may end.
    pub budget: u64,
}

/// The kernel's own timer, which sweeps when no agent does. Armed by `harbor_arm`.
#[btf_map(name = "timer")]
pub static TIMER: Array<Timer, 1> = Array::new();

/// What a dry run has found. Written by dry runs, read by the agent.
#[btf_map(name = "explanation")]
pub static EXPLANATION: Array<Explanation, 1> = Array::new();

/// What the agent is told of backends that have failed a flow. Written by `suspicion`, read by the
/// agent. A full ring loses events and nothing else.
#[btf_map(name = "events")]
pub static EVENTS: RingBuf<Sighting, EVENT_BYTES> = RingBuf::new();

/// The program that served before this one, with its own tables. Set by the agent while it takes the
/// flows in those over; a miss means that nothing served before.
#[btf_map(name = "former")]
pub static FORMER: ProgramArray<1> = ProgramArray::new();

/// A flow that is being taken over. Written and read within one run of the program.
#[btf_map(name = "adoption")]
pub static ADOPTION: PerCpuArray<Adoption, 1> = PerCpuArray::new();

/// A flow's entries while they are filled in.
#[repr(C)]
pub struct Scratch<A> {
    /// The forward entry's key.
    pub key: FlowKey<A>,
    /// The reply entry's key.
    pub reply_key: FlowKey<A>,
    /// Either entry.
    pub flow: Flow<A>,
}

/// Written and read within one run of the program that takes flows over.
#[btf_map(name = "scratch")]
pub static SCRATCH: PerCpuArray<Scratch<Ipv4>, 1> = PerCpuArray::new();

/// The same for IPv6.
#[btf_map(name = "scratch6")]
pub static SCRATCH6: PerCpuArray<Scratch<Ipv6>, 1> = PerCpuArray::new();

/// Packets that somebody traces. Written by `trace`, read by the agent whose load it is; not pinned. A
/// full ring loses packets of the trace and nothing else.
#[btf_map(name = "traces")]
pub static TRACES: RingBuf<Traced, { Traced::UNUSED_BYTES }> = RingBuf::new();

/// The packet that is being traced, and how many more may be told. Written by `trace` and `account`; the
/// agent whose load it is reads how many were missed; not pinned.
#[btf_map(name = "trace")]
pub static TRACE: PerCpuArray<Trace, 1> = PerCpuArray::new();

/// The agent's sockets for datagrams that the stack has put together, by family. Set by the agent that
/// loads `harbor_lookup`, and gone with it; a miss means "nobody carries them".
#[btf_map(name = "sockets")]
pub static SOCKETS: SockMap<2> = SockMap::new();

/// What is known of the packet at hand.
///
/// Not on the stack, which is too small for IPv6. And the verifier does not follow what is in a map:
/// it takes every value for any value, so the ways through one stage do not multiply with those
/// through the next.
#[repr(C)]
pub struct Context<A> {
    /// What `parse` has read.
    pub parsed: Parsed<A>,
    /// Where the packet goes.
    pub way: Way<A>,
    /// What an ICMP error quotes.
    pub quoted: Quoted<A>,
    /// A new flow's entry, client to backend.
    pub forward: Flow<A>,
    /// The same, backend to client.
    pub reply: Flow<A>,
    /// The reply entry's key.
    pub reply_key: FlowKey<A>,
    /// The key of a flow that makes room.
    pub former: FlowKey<A>,
    /// The packet's sender.
    pub client: Ip,
    /// Under which its kept flows are counted.
    pub client_key: ClientKey,
    /// The way back to it, if that is known.
    pub back: Exit,
    /// The time, `CLOCK_MONOTONIC` nanoseconds (coarse).
    pub now: u64,
    /// The frontend that a new flow is for.
    pub frontend: Frontend,
    /// The slot of the backend that it goes to.
    pub backend: u32,
    /// The share of a pool that the packet's destination belongs to; 0 = none.
    pub share: u32,
    /// 1 where the port caps what may come back before the client speaks again.
    pub is_capped: u32,
    /// The place in its ring that a new flow takes.
    pub ring_index: u32,
    /// The slot of the backend that it has left; [`crate::scan::NOBODY`] = none.
    pub avoided: u32,
    /// 1 where it has left one that did not answer.
    pub is_moved: u32,
    /// 1 where it would join a connection of Multipath TCP.
    pub is_join: u32,
    /// 1 where the packet is to open a flow.
    pub opens: u32,
    /// What the flow has met.
    pub sighting: Sighting,
}

/// A part of a packet, while its checksum is worked out. Written and read within one run of the program.
#[btf_map(name = "chunk")]
pub static CHUNK: PerCpuArray<Chunk, 1> = PerCpuArray::new();

/// As much as the kernel sums up at once.
pub type Chunk = [u32; 128];

/// Written and read within one run of the program.
#[btf_map(name = "context")]
pub static CONTEXT: PerCpuArray<Context<Ipv4>, 1> = PerCpuArray::new();

/// The same for IPv6.
#[btf_map(name = "context6")]
pub static CONTEXT6: PerCpuArray<Context<Ipv6>, 1> = PerCpuArray::new();
