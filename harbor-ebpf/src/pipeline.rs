//! The packet path in reading order.

use harbor_common::verdict::{PassReason, Verdict};

use crate::{
    account,
    packet::Packet,
    stage::{flow, frontend, icmp, open, parse, select, translate},
};

/// Takes a packet through all stages.
#[inline(always)]
pub fn run<P: Packet>(packet: &mut P) -> Verdict {
    match forward(packet) {
        Ok(ifindex) => Verdict::Forward(ifindex),
        Err(verdict) => verdict,
    }
}

/// The interface that the translated packet leaves by.
#[inline(always)]
fn forward<P: Packet>(packet: &mut P) -> Result<u32, Verdict> {
    let parsed = match parse::parse(packet) {
        Err(Verdict::Pass(PassReason::Icmp)) => return forward_error(packet),
        parsed => parsed?,
    };
    let side = frontend::find(&parsed)?;
    let flow = match flow::follow(&parsed)? {
        Some(flow) => flow,
        None => {
            let frontend = frontend::admit(&parsed, side)?;
            let choice = select::select(&frontend)?;
            let flow = open::open(&parsed, &frontend, &choice, packet.ingress_ifindex())?;
            account::opened(&flow);
            flow
        }
    };
    translate::translate(packet, &parsed, &flow)?;
    account::translated(&flow, parsed.length);
    Ok(flow.ifindex)
}

/// The same for an ICMP error about a packet that we have translated: it goes to whoever sent that.
#[inline(always)]
fn forward_error<P: Packet>(packet: &mut P) -> Result<u32, Verdict> {
    let quoted = icmp::read(packet)?;
    let flow = flow::quoted(&quoted.key).ok_or(Verdict::Pass(PassReason::Icmp))?;
    icmp::translate(packet, &quoted, &flow)?;
    Ok(flow.ifindex)
}
