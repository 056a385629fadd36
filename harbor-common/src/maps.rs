//! Every map: its name, its pin and its size. The page for whoever reads them with `bpftool`.
//!
//! Maps are pinned as `<bpf>/v<LAYOUT>/maps/<name>`, links as `<bpf>/v<LAYOUT>/links/<interface>`,
//! where `<bpf>` is `[paths].bpf` of the configuration. Names have at most 15 bytes, the kernel's
//! limit. Every change of a key or value here raises [`LAYOUT`].

/// Version of all keys and values together; part of the pin path.
pub const LAYOUT: u32 = 1;

/// Facts about the installation; one element.
pub const META: &str = "meta";
/// Own address to its roles.
pub const ADDRESSES: &str = "addresses";
/// (protocol, port) to the frontend.
pub const FRONTENDS: &str = "frontends";
/// Two sets for each frontend slot.
pub const BACKEND_SETS: &str = "backend_sets";
/// Backend slots.
pub const BACKENDS: &str = "backends";
/// Endpoint to backend slot.
pub const ENDPOINTS: &str = "endpoints";
/// Round robin hand of each frontend slot.
pub const CURSORS: &str = "cursors";
/// Five-tuple to finished translation.
pub const FLOWS: &str = "flows";
/// The latest flows in order of their beginning, so that the oldest half-open one can make room.
pub const RING: &str = "ring";
/// The next flow's cookie; one element.
pub const COOKIES: &str = "cookies";
/// What each frontend slot has carried, per CPU.
pub const COUNTERS: &str = "counters";
/// How often each verdict was reached, per CPU.
pub const VERDICTS: &str = "verdicts";

/// All of them, in the order in which a packet meets them.
pub const ALL: [&str; 12] = [
    META,
    FRONTENDS,
    FLOWS,
    ADDRESSES,
    BACKEND_SETS,
    CURSORS,
    BACKENDS,
    ENDPOINTS,
    COOKIES,
    RING,
    COUNTERS,
    VERDICTS,
];

/// Elements of `frontends`: 65,536 ports of TCP, then as many of UDP.
pub const FRONTEND_INDEXES: usize = 2 * 65_536;
/// How many frontends can be served at once.
pub const FRONTEND_SLOTS: usize = 16_384;
/// How many backends can exist at once, all ports together.
pub const BACKEND_SLOTS: usize = 262_144;
/// How many own addresses can be known.
pub const ADDRESS_SLOTS: usize = 1_024;
/// Elements of `ring`: fewer than one backend has source ports, so half-open flows alone can never
/// exhaust them. A table of few flows uses a part of the ring; see [`ring_slots`].
pub const RING_SLOTS: u32 = 16_384;
/// Default capacity of `flows` in flows; each takes two entries.
pub const DEFAULT_FLOWS: usize = 262_144;

/// How many slots of the ring a table of so many flows uses: a power of two, and at most half of
/// the table, so that half-open flows leave room for live ones.
pub const fn ring_slots(flows: u32) -> u32 {
    let half = flows / 2;
    if half >= RING_SLOTS {
        RING_SLOTS
    } else if half == 0 {
        1
    } else {
        1 << half.ilog2()
    }
}

/// Facts about the installation; the element of the `meta` map, written by the agent.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// [`LAYOUT`] of whoever wrote the maps.
    pub layout: u32,
    /// Process id of the agent that attached last.
    pub agent_pid: u32,
    /// When it did, seconds since 1970.
    pub attached_at: u64,
}
crate::assert_size!(Meta, 16);

#[cfg(test)]
mod tests {
    #[test]
    fn the_ring_never_fills_more_than_half_the_table() {
        assert_eq!(super::ring_slots(1), 1);
        assert_eq!(super::ring_slots(1_000), 256);
        assert_eq!(super::ring_slots(1_024), 512);
        assert_eq!(super::ring_slots(u32::MAX), super::RING_SLOTS);
    }

    #[test]
    fn the_kernel_can_hold_every_name() {
        for name in super::ALL {
            assert!(name.len() <= 15, "{name} has {} bytes", name.len());
        }
    }
}
