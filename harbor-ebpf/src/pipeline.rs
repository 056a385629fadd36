//! The packet path in reading order.

use harbor_common::verdict::Verdict;

use crate::{
    account,
    packet::Packet,
    stage::{flow, frontend, open, parse, select, translate},
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
    let parsed = parse::parse(packet)?;
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
