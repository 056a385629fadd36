//! Read-only settings, fixed when the program is loaded; the verifier removes what they exclude.

use aya_ebpf::Global;
use harbor_common::maps::RING_SLOTS;

/// First port of the translation range.
#[unsafe(no_mangle)]
static SOURCE_PORT_FIRST: Global<u16> = Global::new(10_240);

/// Number of ports in the translation range.
#[unsafe(no_mangle)]
static SOURCE_PORT_COUNT: Global<u16> = Global::new(22_528);

/// Slots in use of each share of the rings, less one; the number of slots is a power of two.
#[unsafe(no_mangle)]
static RING_MASK: Global<u32> = Global::new(RING_SLOTS - 1);

/// 1 in the load that `explain` runs: nothing is written but the explanation.
#[unsafe(no_mangle)]
static DRY_RUN: Global<u32> = Global::new(0);

/// 1 in that load and in the one that traces: the steps of a packet are noted.
#[unsafe(no_mangle)]
static NOTES_STEPS: Global<u32> = Global::new(0);

/// 1 in the load for interfaces whose packets begin with the IP header.
#[unsafe(no_mangle)]
static IS_BARE: Global<u32> = Global::new(0);

/// In the load that traces: one packet in so many is told; 0 in every other load.
#[unsafe(no_mangle)]
static TRACE_ONE_IN: Global<u32> = Global::new(0);

/// How many packets a processor tells in a period at most.
#[unsafe(no_mangle)]
static TRACE_BUDGET: Global<u32> = Global::new(0);

/// The least and the greatest verdict's number that is told.
#[unsafe(no_mangle)]
static TRACE_OUTCOMES: Global<[u32; 2]> = Global::new([0, u32::MAX]);

/// The public port whose packets are told; 0 = every one.
#[unsafe(no_mangle)]
static TRACE_PORT: Global<u16> = Global::new(0);

/// The client whose packets are told, as an IPv6 address or a mapped one in network order; zero = every
/// one.
#[unsafe(no_mangle)]
static TRACE_CLIENT: Global<[u32; 4]> = Global::new([0; 4]);

/// That client's port; 0 = every one.
#[unsafe(no_mangle)]
static TRACE_CLIENT_PORT: Global<u16> = Global::new(0);

/// Where another program served before, and its flows are being taken over: whose packets have no flow
/// here go to it. 1: those that open flows too. 2: new flows begin here. 0 in every other load.
#[unsafe(no_mangle)]
static HANDOVER: Global<u32> = Global::new(0);

/// Whether a packet may have a flow with the program that served before.
#[inline(always)]
pub fn has_former() -> bool {
    HANDOVER.load() != 0
}

/// Whether new flows begin with that program.
#[inline(always)]
pub fn former_opens() -> bool {
    HANDOVER.load() == 1
}

/// One packet in how many is told; 0 = nobody traces.
#[inline(always)]
pub fn traced_one_in() -> u32 {
    TRACE_ONE_IN.load()
}

/// How many packets a processor tells in a period at most.
#[inline(always)]
pub fn trace_budget() -> u32 {
    TRACE_BUDGET.load()
}

/// Whether packets with this verdict are told.
#[inline(always)]
pub fn is_traced_verdict(number: u32) -> bool {
    let [least, greatest] = TRACE_OUTCOMES.load();
    least <= number && number <= greatest
}

/// Whether every verdict is told.
#[inline(always)]
pub fn is_every_verdict_traced() -> bool {
    TRACE_OUTCOMES.load() == [0, u32::MAX]
}

/// Which client and which public port are told; zeros where every one is.
#[inline(always)]
pub fn traced_ends() -> ([u32; 4], u16, u16) {
    (
        TRACE_CLIENT.load(),
        TRACE_CLIENT_PORT.load(),
        TRACE_PORT.load(),
    )
}

/// Whether packets come without an Ethernet header.
#[inline(always)]
pub fn is_bare() -> bool {
    IS_BARE.load() != 0
}

/// Whether nothing may be changed.
#[inline(always)]
pub fn is_dry_run() -> bool {
    DRY_RUN.load() != 0
}

/// Whether the steps of a packet are noted; one look for both loads that do so.
#[inline(always)]
pub fn notes_steps() -> bool {
    NOTES_STEPS.load() != 0
}

/// Slots in use of a ring with this many shares, less one.
#[inline(always)]
pub fn ring_mask(shares: u32) -> u32 {
    (RING_MASK.load() + 1) * shares - 1
}

/// Whether a port lies in the translation range.
#[inline(always)]
pub fn is_source_port(port: u16) -> bool {
    port.wrapping_sub(SOURCE_PORT_FIRST.load()) < SOURCE_PORT_COUNT.load()
}

/// The port of the translation range that a random number chooses.
#[inline(always)]
pub fn source_port(random: u32) -> u16 {
    let offset = (u64::from(random) * u64::from(SOURCE_PORT_COUNT.load())) >> 32;
    SOURCE_PORT_FIRST.load().wrapping_add(offset as u16)
}
