//! Sends a translated packet: with known hardware addresses at once, else through the kernel's own
//! neighbour table.

use harbor_common::{addr::Ip, control::Control, verdict::Verdict};

use crate::parsed::Parsed;
use crate::{
    family::Stack,
    packet::{L3, Packet},
    route,
    way::Way,
};

/// What sending needs, looked up before the first octet of the packet changes.
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

/// The next hop that the kernel is to send the packet at hand to. False where the kernel is left to
/// find it: no agent runs, or the tables say nothing.
///
/// Called when the stages are done: inside them there would not be enough stack.
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

/// Writes the hardware addresses if they are known; else the kernel does that.
#[inline(always)]
pub fn emit<P: Packet>(packet: &mut P, ready: &Ready) -> Verdict {
    if let Some(hardware) = ready.hardware
        && packet.set_words(0, hardware).is_some()
    {
        return Verdict::Forward(ready.ifindex);
    }
    Verdict::Resolve(ready.ifindex)
}

/// Whether the packet, or each segment that it will be cut into, fits the route.
#[inline(always)]
pub fn fits<A: Stack, P: Packet>(packet: &P, parsed: &Parsed<A>, way: &Way<A>) -> bool {
    let mtu = u32::from(way.mtu);
    if mtu == 0 || parsed.length <= mtu {
        return true;
    }
    // A super-packet is cut into segments again on its way out: the size of those counts.
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
