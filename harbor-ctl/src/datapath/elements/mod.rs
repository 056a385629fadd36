//! The contents of pinned maps as JSON with named fields, without an agent: one function a value.

mod flows;
mod routes;

use std::path::Path;

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, PerCpuArray, lpm_trie::Key},
};
use harbor_common::{
    addr::{Address, Family as _, Ip, Ipv4, Ipv6},
    backend::{Backend, BackendState, Endpoint, Sources},
    client::ClientKey,
    control::Control,
    explain::Explanation,
    flow::{Flow, Hand},
    frontend::{
        AclNetwork, Affinity, AffinityKey, BackendSet, Frontend, FrontendState, Limits, Policy,
        TURNS, TurnTable,
    },
    maps::{self as names, Meta},
    stats::{FrontendCounters, Totals},
    verdict::Verdict,
};
use serde_json::{Value, json};

use self::{
    flows::{flow, flow_key, fragment, fragment_key, ring_slot},
    routes::{interface, neighbour, next_hop, route, route_key},
};
use super::{DatapathError, Pins, Tried as _, inspect::existing, tables::open};

/// The contents of one pinned map as JSON objects `{"key": .., "value": ..}` with named fields.
/// Elements of arrays that were never written are left out, and so are the kernel's own
/// timer and the queue of events.
pub(crate) fn dump(bpf: &Path, map: &str) -> Result<Vec<Value>, DatapathError> {
    let pins = existing(bpf)?;
    let index = |name: &'static str| move |value: &u32| json!({ (name): value });
    match map {
        names::META => array(&pins, map, meta),
        names::CONTROL => array(&pins, map, control),
        names::ADDRESSES => hash(&pins, map, ip, address),
        names::FRONTENDS => array(&pins, map, frontend),
        names::BACKEND_SETS => array(&pins, map, set),
        names::TURNS => array(&pins, map, turns),
        names::FRONTEND_STATE => array(&pins, map, frontend_state),
        names::CLOSED => array(&pins, map, |_, until: &u64| json!({ "until_ns": until })),
        names::CLIENTS => hash(&pins, map, client_key, |kept: &u64| json!({ "kept": kept })),
        names::TOTALS => array(&pins, map, totals),
        names::INTERFACES => array(&pins, map, interface),
        names::ACL => trie(
            &pins,
            map,
            network,
            |says: &u32| json!({ "says": said(*says) }),
        ),
        names::AFFINITY => hash(&pins, map, affinity_key, affinity),
        names::BACKENDS => array(&pins, map, backend),
        names::BACKEND_STATE => array(&pins, map, backend_state),
        names::ENDPOINTS => hash(&pins, map, endpoint, index("backend")),
        names::SOURCES => array(&pins, map, sources),
        names::HANDS => array(&pins, map, |_, hand: &Hand| json!({ "count": hand.count })),
        names::RING => array(&pins, map, ring_slot::<Ipv4>),
        names::RING6 => array(&pins, map, ring_slot::<Ipv6>),
        names::FLOWS => hash(&pins, map, flow_key::<Ipv4>, flow::<Ipv4>),
        names::FLOWS6 => hash(&pins, map, flow_key::<Ipv6>, flow::<Ipv6>),
        names::FRAGMENTS => hash(&pins, map, fragment_key, fragment),
        names::ROUTES => trie(&pins, map, route_key, route),
        names::NEIGHBOURS => hash(&pins, map, neighbour, index("next_hop")),
        names::NEXT_HOPS => array(&pins, map, next_hop),
        names::COUNTERS => per_cpu(&pins, map, |share: &[FrontendCounters]| {
            let mut sum = FrontendCounters::default();
            share.iter().for_each(|one| sum.add(one));
            counters(&sum)
        }),
        names::VERDICTS => per_cpu(&pins, map, |share: &[u64]| json!(share.iter().sum::<u64>()))
            .map(|rows| rows.into_iter().filter_map(named_verdict).collect()),
        // The kernel's own, and a queue of which the agent is the one reader.
        names::TIMER | names::EVENTS => Ok(Vec::new()),
        names::EXPLANATION => array(&pins, map, explanation),
        _ => Err(DatapathError::with_fix(
            format!("there is no map {map:?}"),
            format!("use one of {}", names::ALL.join(", ")),
        )),
    }
}

fn array<V: Pod + Default + PartialEq>(
    pins: &Pins,
    name: &str,
    show: impl Fn(u32, &V) -> Value,
) -> Result<Vec<Value>, DatapathError> {
    let what = || format!("cannot read map {name}");
    let map: Array<_, V> = open(pins, name)?;
    let mut rows = Vec::new();
    for index in 0..map.len() {
        let value = map.get(&index, 0).tried(what)?;
        if value != V::default() {
            rows.push(json!({ "key": index, "value": show(index, &value) }));
        }
    }
    Ok(rows)
}

fn per_cpu<V: Pod>(
    pins: &Pins,
    name: &str,
    show: impl Fn(&[V]) -> Value,
) -> Result<Vec<Value>, DatapathError> {
    let what = || format!("cannot read map {name}");
    let map: PerCpuArray<_, V> = open(pins, name)?;
    let mut rows = Vec::new();
    for index in 0..map.len() {
        let value = show(&map.get(&index, 0).tried(what)?);
        let is_zero = |value: &Value| value.as_u64() == Some(0);
        let unused = is_zero(&value) || value.as_object().is_some_and(|o| o.values().all(is_zero));
        if !unused {
            rows.push(json!({ "key": index, "value": value }));
        }
    }
    Ok(rows)
}

fn hash<K: Pod, V: Pod>(
    pins: &Pins,
    name: &str,
    show_key: impl Fn(&K) -> Value,
    show: impl Fn(&V) -> Value,
) -> Result<Vec<Value>, DatapathError> {
    let what = || format!("cannot read map {name}");
    let map: HashMap<_, K, V> = open(pins, name)?;
    map.iter()
        .map(|entry| {
            let (key, value) = entry.tried(what)?;
            Ok(json!({ "key": show_key(&key), "value": show(&value) }))
        })
        .collect()
}

fn trie<K: Pod, V: Pod>(
    pins: &Pins,
    name: &str,
    show_key: impl Fn(&Key<K>) -> Value,
    show: impl Fn(&V) -> Value,
) -> Result<Vec<Value>, DatapathError> {
    let what = || format!("cannot read map {name}");
    let map: LpmTrie<_, K, V> = open(pins, name)?;
    map.iter()
        .map(|entry| {
            let (key, value) = entry.tried(what)?;
            Ok(json!({ "key": show_key(&key), "value": show(&value) }))
        })
        .collect()
}

fn ip(ip: &Ip) -> Value {
    json!(ip.to_string())
}

/// A prefix as people write it; of IPv4, without the bits that mark the family.
fn prefix(bits: u32, address: &Ip) -> String {
    match address.is_v4() && bits >= 96 {
        true => format!("{address}/{}", bits - 96),
        false => format!("{address}/{bits}"),
    }
}

fn meta(_: u32, meta: &Meta) -> Value {
    json!({
        "layout": meta.layout, "agent_pid": meta.agent_pid, "attached_at": meta.attached_at,
    })
}

fn control(_: u32, control: &Control) -> Value {
    json!({
        "valid_until_ns": control.valid_until_ns, "route_generation": control.route_generation,
        "metered": control.flags & Control::METERED != 0,
        "guarded": control.flags & Control::GUARDED != 0,
        "flows_per_client": control.flows_per_client, "flows_per_port": control.flows_per_port,
        "opening_s": control.opening_s, "tcp_established_s": control.tcp_established_s,
        "tcp_closed_s": control.tcp_closed_s, "tcp_reset_s": control.tcp_reset_s,
        "udp_single_s": control.udp_single_s, "udp_stream_s": control.udp_stream_s,
    })
}

fn address(address: &Address) -> Value {
    let roles = [
        (Address::PUBLIC, "public"),
        (Address::TRANSLATION, "translation"),
        (Address::LOCAL, "local"),
    ];
    let names = roles
        .iter()
        .filter(|(role, _)| address.roles & role != 0)
        .map(|(_, name)| *name);
    json!({ "roles": names.collect::<Vec<_>>(), "view": address.view() })
}

fn frontend(index: u32, frontend: &Frontend) -> Value {
    let (protocol, port) = Frontend::from_index(index);
    json!({
        "protocol": protocol.name(), "port": port, "slot": frontend.slot,
        "generation": frontend.generation,
        "sets": [frontend.set_index(Ipv4::INDEX), frontend.set_index(Ipv6::INDEX)],
    })
}

fn policy(number: u32) -> &'static str {
    let found = Policy::ALL.iter().find(|policy| **policy as u32 == number);
    found.map_or("unknown", |policy| policy.name())
}

fn set(_: u32, set: &BackendSet) -> Value {
    let count = (set.count as usize).min(set.backends.len());
    json!({
        "policy": policy(set.policy), "turns": set.turns, "other_family": set.other_family,
        "handed": set.handed,
        "backends": set.backends[..count], "weights": set.weights[..count],
        "limits": limits(&set.limits),
    })
}

fn limits(limits: &Limits) -> Value {
    json!({
        "bytes_per_second": limits.bytes_per_second,
        "packets_per_second": limits.packets_per_second,
        "new_per_second": limits.new_per_second, "max_flows": limits.max_flows,
        "max_per_client": limits.max_per_client,
        "affinity_s": limits.affinity_s, "idle_s": limits.idle_s, "reply_cap": limits.reply_cap,
        "acl": limits.acl, "acl_default": if limits.acl_default == 0 { "allow" } else { "deny" },
    })
}

fn turns(_: u32, table: &TurnTable) -> Value {
    json!({ "positions": table.positions[..TURNS] })
}

fn frontend_state(_: u32, state: &FrontendState) -> Value {
    let current = |current: u64| match current {
        0 => Value::Null,
        _ => json!({ "backend": current as u32, "generation": current >> 32 }),
    };
    json!({
        "cursor": state.cursor, "current": state.current.map(current), "flows": state.flows,
        "new_flows_ns": state.new_flows_ns, "packets_ns": state.packets_ns,
        "bytes_ns": state.bytes_ns, "refused": state.refused, "kept": state.kept,
    })
}

fn client_key(key: &ClientKey) -> Value {
    let frontend = (key.frontend != ClientKey::ALL_PORTS).then_some(key.frontend);
    json!({ "frontend": frontend, "client": key.network.to_string() })
}

fn totals(_: u32, totals: &Totals) -> Value {
    json!({ "kept": totals.kept, "identifications": totals.identifications })
}

fn said(says: u32) -> &'static str {
    match says {
        AclNetwork::ALLOW => "allow",
        AclNetwork::DENY => "deny",
        _ => "nothing",
    }
}

fn network(key: &Key<AclNetwork>) -> Value {
    let AclNetwork { list, address } = key.data();
    let bits = key.prefix_len().saturating_sub(32);
    json!({ "list": list, "network": prefix(bits, &address) })
}

fn affinity_key(key: &AffinityKey) -> Value {
    json!({ "frontend": key.frontend, "client": key.client.to_string() })
}

fn affinity(affinity: &Affinity) -> Value {
    json!({
        "backend": affinity.backend, "generation": affinity.generation,
        "until_ns": affinity.until_ns,
    })
}

fn backend(_: u32, row: &Backend) -> Value {
    json!({
        "state": Backend::state_name(row.state), "generation": row.generation,
        "address": row.address.to_string(), "port": row.port, "protocol": row.protocol,
        "frontend_port": row.frontend_port, "sources": row.sources, "ifindex": row.ifindex,
    })
}

fn backend_state(_: u32, state: &BackendState) -> Value {
    json!({
        "flows": state.flows, "ended": state.ended,
        "forward_packets": state.forward_packets, "forward_bytes": state.forward_bytes,
        "reply_packets": state.reply_packets, "reply_bytes": state.reply_bytes,
        "suspect_until_ns": state.suspect_until_ns, "generation": state.generation,
        "failures": state.failures,
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "address": endpoint.address.to_string(), "port": endpoint.port,
        "protocol": endpoint.protocol,
    })
}

fn sources(_: u32, sources: &Sources) -> Value {
    let count = (sources.count as usize).min(sources.addresses.len());
    let addresses = sources.addresses[..count].iter();
    json!({ "addresses": addresses.map(ToString::to_string).collect::<Vec<_>>() })
}

fn explanation(_: u32, found: &Explanation) -> Value {
    json!({
        "verdict": found.verdict, "steps": found.steps, "frontend": found.frontend,
        "backend": found.backend, "cookie": Flow::<Ipv4>::cookie(found.word),
        "policy": found.policy, "next_hop": found.next_hop, "ifindex": found.ifindex,
    })
}

fn counters(counters: &FrontendCounters) -> Value {
    json!({
        "flows": counters.flows,
        "forward_packets": counters.forward_packets, "forward_bytes": counters.forward_bytes,
        "reply_packets": counters.reply_packets, "reply_bytes": counters.reply_bytes,
    })
}

fn named_verdict(row: Value) -> Option<Value> {
    let number = u32::try_from(row["key"].as_u64()?).ok()?;
    let (name, meaning) = Verdict::describe(number)?;
    Some(json!({
        "key": number,
        "value": { "name": name, "packets": row["value"], "meaning": meaning },
    }))
}
