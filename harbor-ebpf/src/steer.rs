//! Socket lookup in the stack. A datagram of a flow reaches the stack if it was reassembled from
//! fragments that came out of order: it goes to the agent, which sends it on with the flow's own
//! tuple. Everything else finds its socket as ever.

use aya_ebpf::{bindings::bpf_sk_lookup, programs::SkLookupContext};
use harbor_common::{
    addr::{Ipv4, Ipv6},
    backend::Backend,
    flow::{Flow, FlowKey},
    protocol::Protocol,
};

use crate::{
    family::Stack,
    maps::SOCKETS,
    stage::{flow, frontend},
    table,
};

/// `AF_INET` and `AF_INET6`.
const V4: u32 = 2;
const V6: u32 = 10;

/// Reads a field of the context with the field's own width, as the verifier demands.
macro_rules! field {
    ($lookup:expr, $name:ident) => {
        // SAFETY: a context field; the verifier checks the access.
        unsafe { (&raw const (*$lookup).$name).read_volatile() }
    };
    ($lookup:expr, $name:ident[$index:literal]) => {
        // SAFETY: as above.
        unsafe { (&raw const (*$lookup).$name[$index]).read_volatile() }
    };
}

/// Chooses the agent's socket if the datagram is a flow's.
#[inline(always)]
pub fn steer(context: &SkLookupContext) {
    let lookup = context.lookup;
    if field!(lookup, protocol) != Protocol::Udp.number() {
        return;
    }
    match field!(lookup, family) {
        V4 => {
            let source = Ipv4::new(field!(lookup, remote_ip4).to_ne_bytes());
            let destination = Ipv4::new(field!(lookup, local_ip4).to_ne_bytes());
            assign(context, key(lookup, source, destination));
        }
        V6 => {
            let source = Ipv6::from_words([
                field!(lookup, remote_ip6[0]),
                field!(lookup, remote_ip6[1]),
                field!(lookup, remote_ip6[2]),
                field!(lookup, remote_ip6[3]),
            ]);
            let destination = Ipv6::from_words([
                field!(lookup, local_ip6[0]),
                field!(lookup, local_ip6[1]),
                field!(lookup, local_ip6[2]),
                field!(lookup, local_ip6[3]),
            ]);
            assign(context, key(lookup, source, destination));
        }
        _ => {}
    }
}

#[inline(always)]
fn key<A>(lookup: *const bpf_sk_lookup, source: A, destination: A) -> FlowKey<A> {
    FlowKey {
        source,
        destination,
        source_port: u16::from_be(field!(lookup, remote_port)),
        destination_port: field!(lookup, local_port) as u16,
        protocol: Protocol::Udp.number(),
    }
}

#[inline(always)]
fn assign<A: Stack>(context: &SkLookupContext, key: FlowKey<A>) {
    // The proxy may serve the port by now, for example for the sake of a PROXY header.
    if frontend::find(&key, Protocol::Udp).is_err() {
        return;
    }
    let Some(entry) = A::flows().get_ptr(&key) else {
        return;
    };
    // SAFETY: from the lookup above.
    let (word, backend, generation) = unsafe {
        (
            table::word(entry),
            (&raw const (*entry).backend).read_volatile(),
            (&raw const (*entry).backend_generation).read_volatile(),
        )
    };
    if word & Flow::<A>::DEAD == 0 && flow::backend_state(backend, generation) != Backend::GONE {
        // Without an agent's socket the datagram is delivered as any other.
        let _ = SOCKETS.redirect_sk_lookup(context, A::INDEX, 0);
    }
}
