//! Every map: its name, its pin and its size. To be read beside `bpftool`.
//!
//! Maps are pinned as `<bpf>/v<LAYOUT>/maps/<name>`, links as `<bpf>/v<LAYOUT>/links/<interface's
//! index>` and `links/xdp-<interface's index>`, where `<bpf>` is `[paths].bpf` of the configuration. Names
//! have at most 15 bytes, the kernel's limit. Every change of a key or value here raises [`LAYOUT`].

use crate::flow_layout::FlowLayout;

/// Version of all keys and values together; part of the pin path.
pub const LAYOUT: u32 = if cfg!(harbor_other_layout) { 1_008 } else { 8 };

/// Facts about the installation; one element.
pub const META: &str = "meta";
/// What the agent tells the datapath again and again; one element.
pub const CONTROL: &str = "control";
/// Own address to its roles.
pub const ADDRESSES: &str = "addresses";
/// (protocol, port) to the frontend.
pub const FRONTENDS: &str = "frontends";
/// Two sets a family for each frontend slot.
pub const BACKEND_SETS: &str = "backend_sets";
/// Turn tables of those sets that have one.
pub const TURNS: &str = "turns";
/// What the datapath keeps for each frontend slot.
pub const FRONTEND_STATE: &str = "frontend_state";
/// Until when each frontend slot takes no new flows, because its organization keeps as many as it may.
pub const CLOSED: &str = "closed";
/// Who may open flows.
pub const ACL: &str = "acl";
/// How many flows each client keeps.
pub const CLIENTS: &str = "clients";
/// What the datapath counts for all ports together; one element.
pub const TOTALS: &str = "totals";
/// The backends that clients keep.
pub const AFFINITY: &str = "affinity";
/// Backend slots.
pub const BACKENDS: &str = "backends";
/// What the datapath has learnt about each backend slot.
pub const BACKEND_STATE: &str = "backend_state";
/// Endpoint to backend slot.
pub const ENDPOINTS: &str = "endpoints";
/// Own addresses that translated packets carry.
pub const SOURCES: &str = "sources";
/// What the programs must know of each share of a pool.
pub const SHARES: &str = "shares";
/// Five-tuple to finished translation, IPv4.
pub const FLOWS: &str = "flows";
/// Five-tuple to finished translation, IPv6.
pub const FLOWS6: &str = "flows6";
/// The latest IPv4 flows in the order in which they began, so that the oldest half-open one can make
/// room.
pub const RING: &str = "ring";
/// The same for IPv6.
pub const RING6: &str = "ring6";
/// The next cookie of each ring.
pub const HANDS: &str = "hands";
/// Fragmented datagrams whose first fragment has been seen.
pub const FRAGMENTS: &str = "fragments";
/// Prefix to interface and gateway.
pub const ROUTES: &str = "routes";
/// Neighbour to next hop.
pub const NEIGHBOURS: &str = "neighbours";
/// Hardware addresses.
pub const NEXT_HOPS: &str = "next_hops";
/// What the programs must know of each interface.
pub const INTERFACES: &str = "interfaces";
/// What each frontend slot has carried, per CPU.
pub const COUNTERS: &str = "counters";
/// How often each verdict was reached, per CPU.
pub const VERDICTS: &str = "verdicts";
/// The kernel's own timer; one element.
pub const TIMER: &str = "timer";
/// What a dry run has found; one element.
pub const EXPLANATION: &str = "explanation";

/// What the datapath tells the agent: see [`crate::event`].
pub const EVENTS: &str = "events";

/// The program that served before, while its flows are being taken over; one element.
pub const FORMER: &str = "former";

/// All of them, in the order in which a packet meets them.
pub const ALL: [&str; 33] = [
    META,
    CONTROL,
    FRONTENDS,
    FLOWS,
    FLOWS6,
    FRAGMENTS,
    ADDRESSES,
    BACKEND_SETS,
    TURNS,
    FRONTEND_STATE,
    CLOSED,
    ACL,
    CLIENTS,
    TOTALS,
    AFFINITY,
    BACKENDS,
    BACKEND_STATE,
    ENDPOINTS,
    SOURCES,
    SHARES,
    HANDS,
    RING,
    RING6,
    ROUTES,
    NEIGHBOURS,
    NEXT_HOPS,
    INTERFACES,
    COUNTERS,
    VERDICTS,
    TIMER,
    EXPLANATION,
    EVENTS,
    FORMER,
];

/// Elements of `frontends`: 65,536 ports of TCP, then as many of UDP.
pub const FRONTEND_INDEXES: usize = 2 * 65_536;
/// How many frontends can be served at once.
pub const FRONTEND_SLOTS: usize = 16_384;
/// How many turn tables there can be.
pub const TURN_TABLES: usize = 4_096;
/// How many entries all lists of allowed and denied networks can have together.
pub const ACL_ENTRIES: usize = 65_536;
/// How many clients' kept flows are counted, at all ports together; whoever's count was unused for the
/// longest is forgotten first.
pub const CLIENT_SLOTS: usize = 65_536;
/// How many clients' affinities are remembered; the longest unused is forgotten first.
pub const AFFINITIES: usize = 65_536;
/// How many backends can exist at once, all ports together.
pub const BACKEND_SLOTS: usize = 262_144;
/// How many lists of translation addresses there can be.
pub const SOURCE_LISTS: usize = 256;
/// Numbers of shares of pools; 0 is none. Their lists of translation addresses lie behind the others, two
/// a share.
pub const SHARE_NUMBERS: usize = 1_024;
/// How many own addresses can be known.
pub const ADDRESS_SLOTS: usize = 1_024;
/// How many routes can be known, once those that say the same as a wider one are left out. If a node
/// has more, its ports are served by the proxy.
pub const ROUTE_SLOTS: usize = 65_536;
/// How many neighbours can be known.
pub const NEIGHBOUR_SLOTS: usize = 4_096;
/// Elements of `interfaces`; a power of two.
pub const INTERFACE_SLOTS: usize = 4_096;
/// How many fragmented datagrams can be in flight at once.
pub const FRAGMENT_SLOTS: usize = 8_192;
/// Size of the `events` ring: a few hundred events.
pub const EVENT_BYTES: usize = 16_384;
/// Shares of each of `ring` and `ring6`.
pub const RING_SHARES: u32 = 32;
/// Shares of one ring. Frontends are spread over the rings by slot, so that flows of one port evict
/// those of few others.
pub const SHARES_PER_RING: u32 = 4;
/// Rings of each protocol; a power of two.
pub const RINGS: u32 = RING_SHARES / SHARES_PER_RING / 2;
/// Elements of one share. So a ring has room for the clients of a port that is flooded with 48,000
/// SYNs a second, as long as they answer within a third of a second. A small flow table uses only
/// some of them; see [`ring_slots`].
pub const RING_SLOTS: u32 = 4_096;
/// Default capacity of each of `flows` and `flows6` in flows; each takes two entries.
pub const DEFAULT_FLOWS: usize = 262_144;

/// How many slots of each share a table for this many flows uses: a power of two, and all shares
/// together at most half of the table, so that flows that make room leave room for those that do not.
pub const fn ring_slots(flows: u32) -> u32 {
    let share = flows / 2 / RING_SHARES;
    if share >= RING_SLOTS {
        RING_SLOTS
    } else if share == 0 {
        1
    } else {
        1 << share.ilog2()
    }
}

/// Facts about the installation; the element of the `meta` map, written by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The [`LAYOUT`] with which the maps were written.
    pub layout: u32,
    /// Process id of the agent that attached last.
    pub agent_pid: u32,
    /// When it attached, in seconds since 1970.
    pub attached_at: u64,
    /// How the flow tables are to be read.
    pub flows: FlowLayout,
}
crate::assert_size!(Meta, 16 + size_of::<FlowLayout>());

#[cfg(test)]
mod tests {
    #[test]
    fn the_rings_never_fill_more_than_half_the_table() {
        assert_eq!(super::ring_slots(1), 1);
        assert_eq!(super::ring_slots(1_000), 8);
        assert_eq!(super::ring_slots(1_024), 16);
        assert_eq!(super::ring_slots(262_144), super::RING_SLOTS);
        assert_eq!(super::ring_slots(u32::MAX), super::RING_SLOTS);
    }

    #[test]
    fn the_kernel_can_hold_every_name() {
        for name in super::ALL {
            assert!(name.len() <= 15, "{name} has {} bytes", name.len());
        }
    }
}
