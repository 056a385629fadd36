//! What an operator sees and does without an agent: state, contents and removal of what is pinned.

use std::{fs, path::Path};

use aya::{
    Pod,
    maps::{Array, HashMap, MapInfo, PerCpuArray},
    programs::ProgramInfo,
    programs::links::{FdLink, PinnedLink},
};
use harbor_common::{
    addr::{Address, Ipv4},
    backend::{Backend, Endpoint},
    flow::{Flow, FlowKey, RingSlot},
    frontend::{BackendSet, Frontend},
    maps::{self as names, LAYOUT, Meta},
    stats::FrontendCounters,
    verdict::Verdict,
};
use serde_json::{Value, json};

use super::{
    DatapathError, Pins, Tried as _,
    attach::{Attached, Hook},
    pins, stats,
    tables::open,
};
use crate::model::{DatapathReport, DetachReport, LinkReport, MapReport};

/// The state of what is pinned, without an agent.
pub(crate) fn status(bpf: &Path) -> Result<DatapathReport, DatapathError> {
    let pins = existing(bpf)?;
    let links: Vec<_> = pins.attached()?.iter().map(link_report).collect();
    let mut problems: Vec<_> = links
        .iter()
        .filter(|link| link.ifindex == 0)
        .map(|link| format!("interface {} is gone", link.interface))
        .collect();
    if links.is_empty() {
        problems.push("attached to no interface".into());
    }
    let state = if links.is_empty() {
        "down"
    } else if problems.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    Ok(DatapathReport {
        state: state.into(),
        problems,
        layout: LAYOUT,
        pins: pins.version(),
        links,
        verdicts: stats::verdicts(&pins)?,
    })
}

fn existing(bpf: &Path) -> Result<Pins, DatapathError> {
    let pins = Pins::new(bpf);
    if pins.map(names::META).exists() {
        return Ok(pins);
    }
    Err(DatapathError::with_fix(
        format!("no datapath is pinned under {}", pins.version().display()),
        "start the agent, or name its configuration with --config",
    ))
}

fn link_report(attached: &Attached) -> LinkReport {
    let (link_id, program_id) = match attached.hook {
        Hook::Tcx => {
            let info = PinnedLink::from_pin(&attached.pin)
                .and_then(|link| FdLink::from(link).info())
                .ok();
            (
                info.as_ref().map(|info| info.id()),
                info.map_or(0, |info| info.program_id()),
            )
        }
        Hook::Clsact => (
            None,
            ProgramInfo::from_pin(&attached.pin).map_or(0, |program| program.id()),
        ),
    };
    LinkReport {
        interface: attached.interface.clone(),
        ifindex: nix::net::if_::if_nametoindex(attached.interface.as_str()).unwrap_or(0),
        kind: attached.hook.name().into(),
        link_id,
        program_id,
    }
}

/// The pinned maps, without an agent.
pub(crate) fn maps(bpf: &Path) -> Result<Vec<MapReport>, DatapathError> {
    let pins = existing(bpf)?;
    let report = |name: &&str| {
        let pin = pins.map(name);
        let info = MapInfo::from_pin(&pin).tried(|| format!("cannot open map {name}"))?;
        Ok(MapReport {
            name: (*name).into(),
            kind: info
                .map_type()
                .map_or_else(|_| "unknown".into(), |kind| format!("{kind:?}")),
            key_bytes: info.key_size(),
            value_bytes: info.value_size(),
            max_entries: info.max_entries(),
            pin,
        })
    };
    names::ALL.iter().map(report).collect()
}

/// The contents of one pinned map as JSON objects `{"key": .., "value": ..}` with named fields.
/// Elements of arrays that were never written are left out.
pub(crate) fn dump(bpf: &Path, map: &str) -> Result<Vec<Value>, DatapathError> {
    let pins = existing(bpf)?;
    match map {
        names::META => array(&pins, map, meta),
        names::ADDRESSES => hash(&pins, map, |key: &Ipv4| json!(key.to_string()), address),
        names::FRONTENDS => array(&pins, map, frontend),
        names::BACKEND_SETS => array(&pins, map, set),
        names::BACKENDS => array(&pins, map, backend),
        names::ENDPOINTS => hash(
            &pins,
            map,
            endpoint,
            |slot: &u32| json!({ "backend": slot }),
        ),
        names::CURSORS | names::COOKIES => array(&pins, map, |_, count: &u64| json!(count)),
        names::RING => array(&pins, map, ring_slot),
        names::FLOWS => hash(&pins, map, flow_key, flow),
        names::COUNTERS => per_cpu(&pins, map, |share: &[FrontendCounters]| {
            let mut sum = FrontendCounters::default();
            share.iter().for_each(|one| sum.add(one));
            counters(&sum)
        }),
        names::VERDICTS => per_cpu(&pins, map, |share: &[u64]| json!(share.iter().sum::<u64>()))
            .map(|rows| rows.into_iter().filter_map(named_verdict).collect()),
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
    let map: Array<_, V> = open(pins, name)?.try_into().tried(what)?;
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
    let map: PerCpuArray<_, V> = open(pins, name)?.try_into().tried(what)?;
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
    let map: HashMap<_, K, V> = open(pins, name)?.try_into().tried(what)?;
    map.iter()
        .map(|entry| {
            let (key, value) = entry.tried(what)?;
            Ok(json!({ "key": show_key(&key), "value": show(&value) }))
        })
        .collect()
}

fn meta(_: u32, meta: &Meta) -> Value {
    json!({
        "layout": meta.layout, "agent_pid": meta.agent_pid, "attached_at": meta.attached_at,
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
    json!({ "roles": names.collect::<Vec<_>>() })
}

fn frontend(index: u32, frontend: &Frontend) -> Value {
    let (protocol, port) = Frontend::from_index(index);
    json!({
        "protocol": protocol.name(), "port": port, "slot": frontend.slot,
        "generation": frontend.generation, "set": frontend.set_index(),
    })
}

fn set(_: u32, set: &BackendSet) -> Value {
    let policy = if set.policy == 0 {
        "round-robin"
    } else {
        "first"
    };
    let count = (set.count as usize).min(set.backends.len());
    json!({ "policy": policy, "backends": set.backends[..count] })
}

fn backend(_: u32, row: &Backend) -> Value {
    json!({
        "state": Backend::state_name(row.state), "generation": row.generation,
        "address": row.address.to_string(), "port": row.port, "protocol": row.protocol,
        "frontend_port": row.frontend_port, "source": row.source.to_string(),
        "ifindex": row.ifindex,
    })
}

fn endpoint(endpoint: &Endpoint) -> Value {
    json!({
        "address": endpoint.address.to_string(), "port": endpoint.port,
        "protocol": endpoint.protocol,
    })
}

fn flow_key(key: &FlowKey) -> Value {
    json!({
        "source": key.source.to_string(), "source_port": key.source_port,
        "destination": key.destination.to_string(), "destination_port": key.destination_port,
        "protocol": key.protocol,
    })
}

fn ring_slot(_: u32, slot: &RingSlot) -> Value {
    json!({ "cookie": slot.cookie, "flow": flow_key(&slot.key) })
}

fn flow(flow: &Flow) -> Value {
    json!({
        "direction": if flow.direction == Flow::FORWARD { "forward" } else { "reply" },
        "cookie": Flow::cookie(flow.word), "state": flow.word & 0xffff, "seen_ns": flow.seen_ns,
        "source": flow.source.to_string(), "source_port": flow.source_port,
        "destination": flow.destination.to_string(), "destination_port": flow.destination_port,
        "ifindex": flow.ifindex, "backend": flow.backend, "frontend": flow.frontend,
        "packets": flow.packets, "bytes": flow.bytes,
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

/// Removes programs, links, maps and directories; refuses while an agent holds them.
pub(crate) fn detach(bpf: &Path) -> Result<DetachReport, DatapathError> {
    let pins = Pins::new(bpf);
    let mut report = DetachReport::default();
    if !pins.version().exists() {
        return Ok(report);
    }
    let lock = pins.lock()?;
    for attached in pins.attached()? {
        attached.detach()?;
        report.links.push(attached.interface);
    }
    if let Ok(entries) = fs::read_dir(pins.maps()) {
        for entry in entries.flatten() {
            pins::remove(&entry.path()).tried(|| format!("{}", entry.path().display()))?;
            report
                .maps
                .push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    report.maps.sort();
    drop(lock);
    for directory in pins.directories().iter().rev() {
        // The outermost one may hold another version's pins: then it stays.
        if pins::remove(directory).unwrap_or(false) {
            report.directories.push(directory.clone());
        }
    }
    Ok(report)
}
