//! What the agent keeps telling the datapath: that it lives, how long silence may last, and whether
//! what was learnt about ways and neighbours still holds.

/// The element of the `control` map. Written by the agent, at least once a second while it lives.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Until when `routes`, `neighbours` and `next_hops` hold, `CLOCK_MONOTONIC` ns: some seconds
    /// from now while an agent lives. Afterwards the kernel finds every neighbour itself, and its
    /// own timer sweeps the flows.
    pub valid_until_ns: u64,
    /// Rises when a route or a neighbour's hardware address has changed; a flow that was opened or
    /// looked up under another one looks its way up anew.
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
    /// No smaller path MTU is told to a backend: all clients share its way here.
    pub min_path_mtu: u32,
    /// Zero.
    pub _pad: u32,
}
crate::assert_size!(Control, 48);

impl Control {
    /// Some port is limited in packets or bytes: look at the port of every packet.
    pub const METERED: u32 = 1;
    /// There is more than one view of `routes`.
    pub const VIEWED: u32 = 2;
    /// `routes` does not know every way that the kernel knows: look the client's way up before a flow
    /// begins, and leave it to the proxy where there is none.
    pub const PARTIAL: u32 = 4;
    /// What clients' flows meet takes no backend from others.
    pub const IMPASSIVE: u32 = 8;
}
