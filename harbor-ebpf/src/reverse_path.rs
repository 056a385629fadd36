//! Is a client where its packet came from? As the kernel's `rp_filter` asks (RFC 3704), which packets
//! that the programs forward never reach.
//!
//! Without `rp_filter` the question is still asked of senders in networks that the node is part of: an
//! app host's address that comes in from outside is forged.

use harbor_common::{
    addr::Ip,
    control::Control,
    route::{Interface, Route},
    verdict::{DropReason, Verdict},
};

use crate::{
    maps::INTERFACES,
    route::{self, Exit},
};

/// Whether a packet from a client may have come in by this interface. `exit` becomes the way back, if
/// that is known.
#[inline(always)]
pub fn check(public: &Ip, client: &Ip, ingress: u32, exit: &mut Exit) -> Result<(), Verdict> {
    *exit = Exit::default();
    if is_plausible(public, client, ingress, exit) {
        Ok(())
    } else {
        Err(Verdict::Drop(DropReason::ReversePath))
    }
}

#[inline(never)]
fn is_plausible(public: &Ip, client: &Ip, ingress: u32, exit: &mut Exit) -> bool {
    let is_known = route::find(public, client, exit);
    let Some(control) = route::control() else {
        return true;
    };
    if is_known && (exit.ifindex == ingress || exit.flags & Route::SEVERAL != 0) {
        return true;
    }
    let filter = filter(client, ingress);
    if !is_known {
        // What the tables do not know is the stack's, which filters by itself.
        return filter == 0 || control.flags & Control::PARTIAL != 0;
    }
    let is_guarded = control.flags & Control::GUARDED != 0
        && exit.flags & Route::CONNECTED != 0
        && wire(exit.ifindex) != wire(ingress);
    filter != Interface::STRICT && !is_guarded
}

/// The interface whose wire an interface shares, or itself: a virtual router's address stands on a
/// device of its own.
#[inline(always)]
fn wire(ifindex: u32) -> u32 {
    match INTERFACES.get(Interface::slot(ifindex)) {
        Some(interface) if interface.ifindex == ifindex && interface.lower != 0 => interface.lower,
        _ => ifindex,
    }
}

/// The interface's filter for a client of this family; the kernel has none for IPv6.
#[inline(always)]
fn filter(client: &Ip, ingress: u32) -> u16 {
    let Some(interface) = INTERFACES.get(Interface::slot(ingress)) else {
        return 0;
    };
    if interface.ifindex != ingress || !client.is_v4() {
        return 0;
    }
    interface.flags & (Interface::STRICT | Interface::LOOSE)
}
