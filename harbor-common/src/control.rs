//! What the agent tells the datapath, again and again: that it is alive, how long flows may be silent,
//! and whether what was learnt about routes and neighbours still holds.

/// The element of the `control` map. Written by the agent, at least once a second while it runs.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Until when `routes`, `neighbours` and `next_hops` hold, `CLOCK_MONOTONIC` ns: some seconds
    /// from now while an agent runs. After that the kernel finds every neighbour itself, and its own
    /// timer sweeps the flows.
    pub valid_until_ns: u64,
    /// Rises when a route or a neighbour's hardware address has changed. A flow whose route was found
    /// under another number looks it up anew.
    pub route_generation: u32,
    /// A sum of the flags below.
    pub flags: u32,
    /// Seconds of silence after which a half-open TCP flow is forgotten.
    pub opening_s: u32,
    /// The same for an established TCP flow.
    pub tcp_established_s: u32,
    /// The same for a TCP flow that both sides have closed.
    pub tcp_closed_s: u32,
    /// The same for a TCP flow that one side has reset.
    pub tcp_reset_s: u32,
    /// The same for a UDP flow whose client has not spoken again after an answer.
    pub udp_single_s: u32,
    /// The same for any other UDP flow.
    pub udp_stream_s: u32,
    /// Backends are told of no smaller path MTU: to a backend, all clients are on one path.
    pub min_path_mtu: u32,
    /// Flows that one client may keep at all ports together; 0 = not limited.
    pub flows_per_client: u32,
    /// Flows that one port may keep, whatever its own settings say; 0 = not limited.
    pub flows_per_port: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Control, 56);

impl Control {
    /// Some port is limited in packets or bytes: the port's limits have to be looked up for every
    /// packet.
    pub const METERED: u32 = 1;
    /// There is more than one view of `routes`.
    pub const VIEWED: u32 = 2;
    /// `routes` lacks some of the kernel's routes: look up the route to the client before a flow
    /// begins, and leave the flow to the proxy if there is none.
    pub const PARTIAL: u32 = 4;
    /// Failures of clients' flows take no backend away from others.
    pub const IMPASSIVE: u32 = 8;
    /// A sender in a network that the node is part of must be reached by the interface that its packet
    /// came in by, whatever `rp_filter` says.
    pub const GUARDED: u32 = 16;
}
