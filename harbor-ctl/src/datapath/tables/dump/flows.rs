//! Flows, rings and fragments as JSON.

use harbor_common::{
    addr::{Family, Ipv4},
    flow::{Flow, FlowKey, RingSlot},
    fragment::{FragmentKey, FragmentWay},
};
use serde_json::{Value, json};

pub(super) fn flow_key<A: Family>(key: &FlowKey<A>) -> Value {
    json!({
        "source": key.source.ip().to_string(), "source_port": key.source_port,
        "destination": key.destination.ip().to_string(),
        "destination_port": key.destination_port, "protocol": key.protocol,
    })
}

pub(super) fn ring_slot<A: Family>(_: u32, slot: &RingSlot<A>) -> Value {
    json!({ "cookie": slot.cookie, "flow": flow_key(&slot.key) })
}

pub(super) fn flow<A: Family>(flow: &Flow<A>) -> Value {
    type F = Flow<Ipv4>;
    let flags = [
        (F::LIVE, "live"),
        (F::FIN, "fin"),
        (F::RST, "rst"),
        (F::DEAD, "dead"),
        (F::STREAM, "stream"),
        (F::CAPPED, "capped"),
        (F::RESET, "reset"),
        (F::REFUSED, "refused"),
        (F::MOVED, "moved"),
        (F::HEARD, "heard"),
        (F::KEPT, "kept"),
    ];
    let set = flags.iter().filter(|(flag, _)| flow.word & flag != 0);
    json!({
        "direction": if flow.direction == F::FORWARD { "forward" } else { "reply" },
        "cookie": F::cookie(flow.word), "state": set.map(|(_, name)| *name).collect::<Vec<_>>(),
        "seen_ns": flow.seen_ns, "opened": flow.opened,
        "source": flow.source.ip().to_string(), "source_port": flow.source_port,
        "destination": flow.destination.ip().to_string(),
        "destination_port": flow.destination_port,
        "ifindex": flow.ifindex, "next_hop": flow.next_hop, "mtu": flow.mtu,
        "route_generation": flow.route_generation, "backend": flow.backend,
        "backend_generation": flow.backend_generation, "frontend": flow.frontend,
        "packets": flow.packets, "bytes": flow.bytes,
        "acknowledged": flow.acknowledged, "next_sequence": flow.next_sequence,
    })
}

pub(super) fn fragment_key(key: &FragmentKey) -> Value {
    json!({
        "source": key.source.to_string(), "destination": key.destination.to_string(),
        "identification": key.identification, "protocol": key.protocol,
    })
}

pub(super) fn fragment(way: &FragmentWay) -> Value {
    json!({
        "seen_ns": way.seen_ns, "source": way.source.to_string(),
        "destination": way.destination.to_string(), "ifindex": way.ifindex,
        "next_hop": way.next_hop, "direction": way.direction, "frontend": way.frontend,
        "new_identification": way.identification,
    })
}
