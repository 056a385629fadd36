//! ICMP errors about packets that we have sent: which flow they belong to, whether they can be
//! true, and who is to be told.

use harbor_common::{
    explain::Explanation,
    verdict::{DropReason, PassReason, Verdict},
};

use crate::{
    account, clock,
    code::Code,
    credible::is_credible,
    maps::Context,
    opening::{HAS_OTHER, testify, weigh},
    packet::Packet,
    phases::Path,
    route,
    stage::{emit, flow, icmp},
};

/// Relays an ICMP error to whoever sent the packet that it is about.
#[inline(always)]
pub fn relay<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    match find_error(packet, context).result() {
        Ok(()) => pass_error(packet, context),
        Err(verdict) => Code::of(verdict),
    }
}

/// Finds the flow of the packet that an ICMP error is about. If the error says that the backend
/// cannot be reached, the flow moves, provided that another backend can take it.
#[inline(never)]
fn find_error<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    Code::of_result(try_find_error(packet, context))
}

#[inline(always)]
fn try_find_error<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<(), Verdict> {
    const OTHER: Verdict = Verdict::Pass(PassReason::Icmp);
    let control = route::control().ok_or(OTHER)?;
    let Context { quoted, way, .. } = context;
    icmp::read(packet, quoted)?;
    if !flow::quoted(&quoted.key, control, way)
        || !is_credible(quoted, way, packet.ingress_ifindex())
    {
        return Err(OTHER);
    }
    account::step(Explanation::QUOTED, |_| {});
    if quoted.is_unreachable && flow::is_young(&quoted.key, way) {
        let (protocol, arrived_at) = (quoted.protocol, quoted.key.destination_port);
        // Where clients and backends share an interface, that interface proves nothing: then only the
        // backend's own host speaks against it. The flow moves all the same.
        let is_proof = packet.ingress_ifindex() != way.ifindex || quoted.is_sent_by_receiver();
        let outlook = weigh(context, protocol, arrived_at);
        if is_proof {
            testify(context);
        }
        if outlook & HAS_OTHER != 0 {
            flow::refuse(&context.way, context.quoted.key.protocol);
            return Err(Verdict::Drop(DropReason::BackendRefused));
        }
    }
    Ok(())
}

/// Translates the error for the other side of its flow, and sends it there.
#[inline(never)]
fn pass_error<A: Path, P: Packet>(packet: &mut P, context: &mut Context<A>) -> Code {
    match try_pass_error(packet, context) {
        Ok(verdict) | Err(verdict) => Code::of(verdict),
    }
}

#[inline(always)]
fn try_pass_error<A: Path, P: Packet>(
    packet: &mut P,
    context: &mut Context<A>,
) -> Result<Verdict, Verdict> {
    let control = route::control().ok_or(Verdict::Pass(PassReason::Icmp))?;
    let Context { quoted, way, .. } = context;
    let ready = emit::prepare(way, control, clock::now_ns());
    icmp::translate(packet, quoted, way, control.min_path_mtu).result()?;
    account::translated(way.frontend, way.direction, quoted.length);
    Ok(emit::emit(packet, &ready))
}
