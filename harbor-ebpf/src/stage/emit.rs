//! Sends a translated packet: with known hardware addresses at once, else through the kernel's own
//! neighbour table.

use harbor_common::{addr::Ip, control::Control, verdict::Verdict};

use super::parse::Parsed;
use crate::{
    family::Stack,
    packet::{L3, Packet},
    route,
    way::Way,
};

/// A way out, the hardware addresses looked up before the first octet of the packet changes.
#[derive(Clone, Copy)]
pub struct Ready {
    ifindex: u32,
    hardware: Option<[u32; 3]>,
}

/// Looks up what sending will need.
#[inline(always)]
pub fn prepare<A>(way: &Way<A>, control: &Control, now: u64) -> Ready {
    let is_valid = control.valid_until_ns > now;
    let hardware = if is_valid {
        route::hardware(way.next_hop, way.ifindex, now)
    } else {
        None
    };
    Ready {
        ifindex: way.ifindex,
        hardware,
    }
}

/// The neighbour that the kernel is to find for the packet at hand; unspecified where it knows
/// best, because no agent lives or the tables say nothing.
///
/// Called when the stages are done: from inside them the stack would not suffice.
#[inline(never)]
pub fn neighbour<A: Stack>(now: u64, via: &mut Ip) -> bool {
    let (Some(context), Some(control)) = (A::context(), route::control()) else {
        return false;
    };
    // SAFETY: this CPU's own element.
    let way = unsafe { &(*context).way };
    control.valid_until_ns > now
        && route::neighbour(&way.source.ip(), &way.destination.ip(), way.ifindex, via)
}

/// Addresses the frame, if that is ours to do.
#[inline(always)]
pub fn emit<P: Packet>(packet: &mut P, ready: &Ready) -> Verdict {
    if let Some(hardware) = ready.hardware
        && packet.set_words(0, hardware).is_some()
    {
        return Verdict::Forward(ready.ifindex);
    }
    Verdict::Resolve(ready.ifindex)
}

/// Whether the packet, or each segment that it will become, fits the way out.
#[inline(always)]
pub fn fits<A: Stack, P: Packet>(packet: &P, parsed: &Parsed<A>, way: &Way<A>) -> bool {
    let mtu = u32::from(way.mtu);
    if mtu == 0 || parsed.length <= mtu {
        return true;
    }
    // A super-packet is cut again on its way out: what counts is what comes of it.
    let segment = packet.segment_size();
    if segment == 0 {
        return false;
    }
    let transport = if parsed.tcp.header == 0 {
        8
    } else {
        parsed.tcp.header
    };
    (parsed.l4() - L3) as u32 + transport + segment <= mtu
}
