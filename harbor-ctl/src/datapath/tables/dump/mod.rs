//! The contents of pinned maps as JSON with named fields, without an agent: one function a value.

mod flows;
mod routes;

use std::{os::fd::AsFd as _, path::Path};

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
    share::Share,
    stats::{FrontendCounters, Totals},
    verdict::Verdict,
};
use serde_json::{Value, json};

use super::{
    batch::{self, Place},
    data, open,
};
use crate::datapath::{
    error::{DatapathError, Tried as _},
    inspect::existing,
    program::pins::Pins,
};
use flows::{flow, flow_key, fragment, fragment_key, ring_slot};
use routes::{interface, neighbour, next_hop, route, route_key};

/// What takes the elements of a map, one after the other.
type Take<'a, E> = &'a mut dyn FnMut(Value) -> Result<(), E>;

/// Hands on the contents of one pinned map as JSON objects `{"key": .., "value": ..}` with named fields,
/// while they are read.
/// Elements of arrays that were never written are left out, and so are the kernel's own
/// timer and the queue of events.
pub(crate) fn dump<E: From<DatapathError>>(
    bpf: &Path,
    map: &str,
    take: Take<'_, E>,
) -> Result<(), E> {
    let pins = existing(bpf)?;
    let place = (&pins, map);
    let index = |name: &'static str| move |value: &u32| json!({ (name): value });
    match map {
        names::META => array(place, meta, take),
        names::CONTROL => array(place, control, take),
        names::ADDRESSES => hash(place, (ip, address), take),
        names::FRONTENDS => array(place, frontend, take),
        names::BACKEND_SETS => array(place, set, take),
        names::TURNS => array(place, turns, take),
        names::FRONTEND_STATE => array(place, frontend_state, take),
        names::CLOSED => array(place, |_, until: &u64| json!({ "until_ns": until }), take),
        names::CLIENTS => {
            let kept = |kept: &u64| json!({ "kept": kept });
            hash(place, (client_key, kept), take)
        }
        names::TOTALS => array(place, totals, take),
        names::INTERFACES => array(place, interface, take),
        names::ACL => {
            let says = |says: &u32| json!({ "says": said(*says) });
            trie(place, (network, says), take)
        }
        names::AFFINITY => hash(place, (affinity_key, affinity), take),
        names::BACKENDS => array(place, backend, take),
        names::BACKEND_STATE => array(place, backend_state, take),
        names::ENDPOINTS => hash(place, (endpoint, index("backend")), take),
        names::SOURCES => array(place, sources, take),
        names::SHARES => array(place, share, take),
        names::HANDS => array(place, |_, hand: &Hand| json!({ "count": hand.count }), take),
        names::RING => array(place, ring_slot::<Ipv4>, take),
        names::RING6 => array(place, ring_slot::<Ipv6>, take),
        names::FLOWS => hash(place, (flow_key::<Ipv4>, flow::<Ipv4>), take),
        names::FLOWS6 => hash(place, (flow_key::<Ipv6>, flow::<Ipv6>), take),
        names::FRAGMENTS => hash(place, (fragment_key, fragment), take),
        names::ROUTES => trie(place, (route_key, route), take),
        names::NEIGHBOURS => hash(place, (neighbour, index("next_hop")), take),
        names::NEXT_HOPS => array(place, next_hop, take),
        names::COUNTERS => per_cpu(place, summed, take),
        names::VERDICTS => {
            let sum = |share: &[u64]| json!(share.iter().sum::<u64>());
            let mut named = |row| named_verdict(row).map_or(Ok(()), &mut *take);
            per_cpu(place, sum, &mut named)
        }
        // The kernel's own, and a queue of which the agent is the one reader.
        names::TIMER | names::EVENTS => Ok(()),
        names::EXPLANATION => array(place, explanation, take),
        _ => Err(DatapathError::with_fix(
            format!("there is no map {map:?}"),
            format!("use one of {}", names::ALL.join(", ")),
        )
        .into()),
    }
}

fn share(_: u32, share: &Share) -> Value {
    match share.held_until_ns {
        Share::STANDBY => json!({ "here": false, "elsewhere_until_ns": share.elsewhere_until_ns }),
        held_until_ns => json!({ "here": true, "held_until_ns": held_until_ns }),
    }
}

fn array<V: Pod + Default + PartialEq, E: From<DatapathError>>(
    (pins, name): (&Pins, &str),
    show: impl Fn(u32, &V) -> Value,
    take: Take<'_, E>,
) -> Result<(), E> {
    let what = || format!("cannot read map {name}");
    let map: Array<_, V> = open(pins, name)?;
    for index in 0..map.len() {
        let value = map.get(&index, 0).tried(what)?;
        if value != V::default() {
            take(json!({ "key": index, "value": show(index, &value) }))?;
        }
    }
    Ok(())
}

fn per_cpu<V: Pod, E: From<DatapathError>>(
    (pins, name): (&Pins, &str),
    show: impl Fn(&[V]) -> Value,
    take: Take<'_, E>,
) -> Result<(), E> {
    let what = || format!("cannot read map {name}");
    let map: PerCpuArray<_, V> = open(pins, name)?;
    for index in 0..map.len() {
        let value = show(&map.get(&index, 0).tried(what)?);
        let is_zero = |value: &Value| value.as_u64() == Some(0);
        let unused = is_zero(&value) || value.as_object().is_some_and(|o| o.values().all(is_zero));
        if !unused {
            take(json!({ "key": index, "value": value }))?;
        }
    }
    Ok(())
}

/// In steps: a table of flows may hold millions, and change meanwhile.
fn hash<K: Pod, V: Pod, E: From<DatapathError>>(
    (pins, name): (&Pins, &str),
    (show_key, show): (impl Fn(&K) -> Value, impl Fn(&V) -> Value),
    take: Take<'_, E>,
) -> Result<(), E> {
    // This compares the sizes of keys and values, on which the steps rely.
    let _: HashMap<_, K, V> = open(pins, name)?;
    let map = data(pins, name)?;
    let mut place = Place::Start;
    while place != Place::End {
        let mut rows = Vec::new();
        let step = batch::step(map.fd().as_fd(), &mut place, |key, value| {
            rows.push(json!({ "key": show_key(key), "value": show(value) }));
        });
        step.tried(|| format!("cannot read map {name}"))?;
        rows.into_iter().try_for_each(&mut *take)?;
    }
    Ok(())
}

fn trie<K: Pod, V: Pod, E: From<DatapathError>>(
    (pins, name): (&Pins, &str),
    (show_key, show): (impl Fn(&Key<K>) -> Value, impl Fn(&V) -> Value),
    take: Take<'_, E>,
) -> Result<(), E> {
    let what = || format!("cannot read map {name}");
    let map: LpmTrie<_, K, V> = open(pins, name)?;
    for entry in map.iter() {
        let (key, value) = entry.tried(what)?;
        take(json!({ "key": show_key(&key), "value": show(&value) }))?;
    }
    Ok(())
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
    json!({ "roles": names.collect::<Vec<_>>(), "view": address.view(), "share": address.share() })
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

fn summed(shares: &[FrontendCounters]) -> Value {
    let mut sum = FrontendCounters::default();
    shares.iter().for_each(|share| sum.add(share));
    counters(&sum)
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
