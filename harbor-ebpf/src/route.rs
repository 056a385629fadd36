//! Finds routes: interface, next hop and largest packet, from what the agent has read from the
//! kernel.

use aya_ebpf::btf_maps::lpm_trie::Key;
use harbor_common::{
    addr::Ip,
    control::Control,
    route::{Neighbour, NextHop, RouteKey},
};

use crate::{
    config,
    maps::{ADDRESSES, CONTROL, NEIGHBOURS, NEXT_HOPS, ROUTES},
};

/// No generation of routes, as the agent counts them from 1: an entry that came from elsewhere, before its first
/// packet here.
pub const UNROUTED: u32 = 0;
/// How often a packet goes through the kernel's neighbour table, so that the kernel notices a
/// neighbour that is gone.
const PROBE_NS: u64 = 5_000_000_000;

/// A route out of the node.
#[derive(Clone, Copy, Default)]
pub struct Exit {
    /// The interface; 0 = not known.
    pub ifindex: u32,
    /// Element of `next_hops`; 0 = the kernel finds the neighbour.
    pub next_hop: u32,
    /// The largest IP packet; 0 = not known.
    pub mtu: u32,
    /// The flags of the route that was found.
    pub flags: u32,
}

impl Exit {
    /// By this interface; nothing else is known.
    #[inline(always)]
    pub fn by(ifindex: u32) -> Self {
        Self {
            ifindex,
            ..Self::default()
        }
    }

    /// The same as a flow's entry holds it.
    #[inline(always)]
    pub fn mtu16(&self) -> u16 {
        if self.mtu > u32::from(u16::MAX) {
            0
        } else {
            self.mtu as u16
        }
    }
}

/// Finds the route of packets with this source to a destination; whether it is known.
#[inline(never)]
pub fn find(source: &Ip, destination: &Ip, exit: &mut Exit) -> bool {
    let key = RouteKey {
        view: view(source),
        address: *destination,
    };
    let Some(route) = ROUTES.get(&Key::new(160, key)) else {
        return false;
    };
    if route.ifindex == 0 {
        return false;
    }
    let address = if route.gateway.is_unspecified() {
        *destination
    } else {
        route.gateway
    };
    let neighbour = Neighbour {
        address,
        ifindex: route.ifindex,
    };
    exit.ifindex = route.ifindex;
    exit.mtu = route.mtu;
    exit.flags = route.flags;
    exit.next_hop = match NEIGHBOURS.get_ptr(neighbour) {
        // SAFETY: from the lookup; one aligned word.
        Some(index) => unsafe { *index },
        None => 0,
    };
    true
}

/// The view that packets with this source are subject to.
#[inline(always)]
fn view(source: &Ip) -> u32 {
    match control() {
        Some(control) if control.flags & Control::VIEWED != 0 => match ADDRESSES.get_ptr(source) {
            // SAFETY: from the lookup; one aligned word.
            Some(address) => unsafe { (*address).view() },
            None => 0,
        },
        _ => 0,
    }
}

/// The next hop of packets with this source to a destination by this interface; false where the
/// tables say nothing.
///
/// Left to itself, the kernel takes the interface for a mere wish when it looks up its routes, and
/// may answer with a neighbour on another one.
#[inline(never)]
pub fn neighbour(source: &Ip, destination: &Ip, ifindex: u32, via: &mut Ip) -> bool {
    let key = RouteKey {
        view: view(source),
        address: *destination,
    };
    let Some(route) = ROUTES.get(&Key::new(160, key)) else {
        return false;
    };
    if route.ifindex != ifindex {
        return false;
    }
    *via = if route.gateway.is_unspecified() {
        *destination
    } else {
        route.gateway
    };
    true
}

/// Whether a way back to a client, as it was found, is certain: where the tables lack some of the
/// kernel's routes, only one that was found is.
#[inline(always)]
pub fn is_certain(back: &Exit) -> bool {
    match control() {
        Some(control) if control.flags & Control::PARTIAL != 0 => back.ifindex != 0,
        _ => true,
    }
}

/// What the agent says, if it has said anything yet.
#[inline(always)]
pub fn control() -> Option<&'static Control> {
    CONTROL.get(0)
}

/// The hardware addresses of a next hop, if they can be relied on now. Once in a while they cannot:
/// then the kernel is asked, by the packet at hand.
#[inline(always)]
pub fn hardware(index: u32, ifindex: u32, now: u64) -> Option<[u32; 3]> {
    let (element, hop) = next_hop(index, ifindex)?;
    if is_due(&hop, now) && !config::is_dry_run() {
        // Several CPUs may do so at once; each such packet only costs a little more.
        // SAFETY: from the lookup; an aligned word that only the datapath writes.
        unsafe { (&raw mut (*element).probed_ns).write_volatile(now) };
        return None;
    }
    Some(hop.hardware)
}

/// The same where the kernel cannot be asked, at XDP: none if it is time to ask, which is not
/// noted.
#[inline(always)]
pub fn fresh_hardware(index: u32, ifindex: u32, now: u64) -> Option<[u32; 3]> {
    let (_, hop) = next_hop(index, ifindex)?;
    (!is_due(&hop, now)).then_some(hop.hardware)
}

#[inline(always)]
fn is_due(hop: &NextHop, now: u64) -> bool {
    now.saturating_sub(hop.probed_ns) > PROBE_NS
}

/// A next hop by this interface, with its element.
#[inline(always)]
fn next_hop(index: u32, ifindex: u32) -> Option<(*mut NextHop, NextHop)> {
    if index == 0 {
        return None;
    }
    let element = NEXT_HOPS.get_ptr_mut(index)?;
    // SAFETY: an element of the map; the agent does not change one that may be in use.
    let hop = unsafe { element.read_volatile() };
    (hop.ifindex == ifindex).then_some((element, hop))
}
