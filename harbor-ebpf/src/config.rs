//! Read-only settings, fixed when the program is loaded; the verifier removes what they exclude.

use aya_ebpf::Global;
use harbor_common::maps::RING_SLOTS;

/// First port of the translation range.
#[unsafe(no_mangle)]
static SOURCE_PORT_FIRST: Global<u16> = Global::new(10_240);

/// Number of ports in the translation range.
#[unsafe(no_mangle)]
static SOURCE_PORT_COUNT: Global<u16> = Global::new(22_528);

/// Slots of the ring in use less one; the number of slots is a power of two.
#[unsafe(no_mangle)]
static RING_MASK: Global<u32> = Global::new(RING_SLOTS - 1);

/// The ring slot of a flow.
#[inline(always)]
pub fn ring_slot(cookie: u64) -> u32 {
    cookie as u32 & RING_MASK.load()
}

/// Whether a port lies in the translation range.
#[inline(always)]
pub fn is_source_port(port: u16) -> bool {
    port.wrapping_sub(SOURCE_PORT_FIRST.load()) < SOURCE_PORT_COUNT.load()
}

/// The port of the translation range that a random word chooses.
#[inline(always)]
pub fn source_port(random: u32) -> u16 {
    let offset = (u64::from(random) * u64::from(SOURCE_PORT_COUNT.load())) >> 32;
    SOURCE_PORT_FIRST.load().wrapping_add(offset as u16)
}
