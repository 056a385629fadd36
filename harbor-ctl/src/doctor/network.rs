//! The network: interfaces, addresses, numbers, routes, and who else is in the way.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    process::Command,
};

use super::{finding::Finding, finding::or_ok, patient::Patient};
use crate::{
    allocator::{self, Scope, Socket},
    config::Config,
    datapath,
    model::{PortSet, Protocol, counted},
};

/// What IPv6 needs of every link.
const LEAST_MTU: u32 = 1_280;
/// Many of one kind are told as one.
const SHOWN: usize = 3;

fn unknown(patient: &Patient) -> Vec<Finding> {
    match &patient.network {
        Err(error) => vec![Finding::fault(format!(
            "the network cannot be read: {error}"
        ))],
        Ok(_) => vec![Finding::skipped("the configuration cannot be used")],
    }
}

pub(super) fn interfaces(patient: &Patient) -> Vec<Finding> {
    let (Some(config), Some(snapshot)) = (patient.config(), patient.snapshot()) else {
        return unknown(patient);
    };
    let mut findings = Vec::new();
    for name in &config.interfaces {
        let Some(found) = snapshot.interfaces.iter().find(|i| i.name == *name) else {
            let text = format!("node.interfaces: there is no interface {name}");
            findings.push(Finding::fault(text).fix("name those of ip -br link, or auto"));
            continue;
        };
        if !found.is_up {
            let text = format!("node.interfaces: {name} is down");
            findings.push(Finding::fault(text).fix(format!("ip link set {name} up")));
        } else if !found.can_have_program() {
            let text = format!("node.interfaces: {name} cannot have the program");
            let fix = "name the bridge or bond that it is part of, or an Ethernet interface";
            findings.push(Finding::fault(text).fix(fix));
        }
    }
    let none = BTreeSet::new();
    let mut eligible = snapshot.interfaces.iter().filter(|i| i.is_eligible(&none));
    if config.interfaces.is_empty() && eligible.next().is_none() {
        let text = "no interface is up and has an address that others can reach";
        let fix = "ip link set NAME up; ip address add ADDRESS dev NAME";
        findings.push(Finding::fault(text).fix(fix));
    }
    let chosen = snapshot
        .interfaces
        .iter()
        .filter(|i| match config.interfaces.is_empty() {
            true => i.is_eligible(&none),
            false => config.interfaces.contains(&i.name),
        });
    let names: Vec<&str> = chosen.map(|i| i.name.as_str()).collect();
    or_ok(findings, names.join(" "))
}

pub(super) fn addresses(patient: &Patient) -> Vec<Finding> {
    let (Some(config), Some(snapshot)) = (patient.config(), patient.snapshot()) else {
        return unknown(patient);
    };
    let own = snapshot.local_addresses();
    let mut findings = Vec::new();
    for (key, addresses) in [
        ("node.addresses", &config.addresses),
        ("datapath.source_addresses", &config.source_addresses),
    ] {
        for address in addresses.iter().filter(|address| !own.contains(address)) {
            let text = format!("{key}: no interface has {address}");
            let fix = format!("ip address add {address} dev NAME, or take it out of {key}");
            findings.push(Finding::fault(text).fix(fix));
        }
    }
    or_ok(findings, format!("this node has {}", own.len()))
}

pub(super) fn mtu(patient: &Patient) -> Vec<Finding> {
    let Some(snapshot) = patient.snapshot() else {
        return unknown(patient);
    };
    let narrow = snapshot
        .interfaces
        .iter()
        .filter(|i| i.can_have_program() && i.mtu < LEAST_MTU);
    let told = narrow.map(|i| {
        let text = format!("{} carries packets of {} octets at most", i.name, i.mtu);
        Finding::warning(text).fix(format!("ip link set {} mtu 1500", i.name))
    });
    or_ok(told.collect(), "all do")
}

/// Where the APIs are to listen.
fn listens(config: &Config) -> Vec<(&'static str, SocketAddr)> {
    let gateway = config.gateway.as_ref().map(|gateway| gateway.listen);
    let all = [
        ("control.listen", config.control.listen),
        ("gateway.listen", gateway),
        ("metrics.listen", config.metrics.listen),
        ("console.listen", config.console.listen),
    ];
    let is_on = |(key, listen): (&'static str, Option<SocketAddr>)| Some((key, listen?));
    all.into_iter().filter_map(is_on).collect()
}

pub(super) fn listeners(patient: &Patient) -> Vec<Finding> {
    let (Some(config), Some(snapshot)) = (patient.config(), patient.snapshot()) else {
        return unknown(patient);
    };
    let own = snapshot.local_addresses();
    let sockets = allocator::read_sockets(Scope::Listeners).unwrap_or_default();
    let mut findings = Vec::new();
    let listens = listens(config);
    for (key, listen) in &listens {
        let ip = listen.ip();
        if !(own.contains(&ip) || ip.is_unspecified() || ip.is_loopback()) {
            let text = format!("{key}: no interface has {ip}");
            findings.push(
                Finding::fault(text).fix(format!("harbor-ctl config set {key} ADDRESS:PORT")),
            );
            continue;
        }
        let socket = sockets.get(&(Protocol::Tcp, listen.port()));
        // One on another address is in nobody's way.
        let overlaps = |socket: &&Socket| {
            let there = socket.address.ip();
            there == ip || there.is_unspecified() || ip.is_unspecified()
        };
        let Some(holder) = socket
            .filter(overlaps)
            .and_then(|socket| holder(patient, socket))
        else {
            continue;
        };
        let text = format!("{key}: {listen} is held by {holder}");
        findings.push(Finding::fault(text).fix(format!(
            "stop it, or: harbor-ctl config set {key} ADDRESS:PORT"
        )));
    }
    or_ok(findings, counted(listens.len(), "listener"))
}

/// Who has a socket, unless it is the agent.
fn holder(patient: &Patient, socket: &Socket) -> Option<String> {
    let holder = allocator::name_holders(std::slice::from_ref(socket)).pop()?;
    let agent = patient.running().map(|agent| agent.pid);
    let is_agent = holder.pid.is_some() && holder.pid == agent;
    (!is_agent).then(|| holder.to_string())
}

pub(super) fn numbers(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown(patient);
    };
    let sockets = match allocator::read_sockets(Scope::Listeners) {
        Ok(sockets) => sockets,
        Err(error) => return vec![Finding::fault(format!("sockets cannot be read: {error}"))],
    };
    let inside = sockets
        .iter()
        .filter(|((_, port), _)| config.range.contains(*port));
    let others = inside.filter_map(|((protocol, port), socket)| {
        let holder = holder(patient, socket)?;
        Some(format!("{port}/{protocol} is held by {holder}"))
    });
    let others: Vec<String> = others.collect();
    if others.is_empty() {
        return vec![Finding::ok(format!("{} is free of others", config.range))];
    }
    let mut text = others[..others.len().min(SHOWN)].join("; ");
    if others.len() > SHOWN {
        text.push_str(&format!("; and {} more", others.len() - SHOWN));
    }
    let fix = "stop them, or choose another range: harbor-ctl config set ports.range FIRST-LAST";
    vec![Finding::warning(text).fix(fix)]
}

pub(super) fn reserved(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown(patient);
    };
    let is_loaded = fs::exists(
        config
            .paths
            .bpf
            .join(format!("v{}", harbor_common::maps::LAYOUT)),
    );
    if !is_loaded.unwrap_or(false) {
        return vec![Finding::skipped(
            "the agent reserves them when it has loaded the programs",
        )];
    }
    let (now, local) = match (datapath::reserved(), datapath::local_range()) {
        (Ok(now), Ok(local)) => (now, local),
        (Err(error), _) | (_, Err(error)) => return vec![Finding::fault(error.to_string())],
    };
    let mut wanted = PortSet::default();
    wanted.add(config.source_ports.numbers());
    let mut wanted = wanted.common(&local);
    wanted.add(config.range.numbers());
    let missing = wanted.clone().without(&now);
    if missing == PortSet::default() {
        return vec![Finding::ok(format!("{wanted} are reserved"))];
    }
    let all = now.with(&wanted);
    let text = format!("{missing} may be taken by the host's own connections");
    let fix = format!("sysctl -w net.ipv4.ip_local_reserved_ports={all}");
    // Others may have reserved more since.
    let mend = move || match datapath::add_reserved(&wanted) {
        Ok(()) => Ok(format!("{missing} are reserved")),
        Err(error) => Err(error.to_string()),
    };
    vec![Finding::fault(text).fix(fix).mend(mend)]
}

pub(super) fn routes(patient: &Patient) -> Vec<Finding> {
    let (Some(agent), Ok((host, _))) = (patient.running(), &patient.network) else {
        return vec![Finding::skipped("no agent tells of backends")];
    };
    let hosts: BTreeSet<IpAddr> = agent.backends.iter().map(SocketAddr::ip).collect();
    let known = host.routes(&hosts);
    let lost = hosts.iter().filter(|host| !known.contains_key(host));
    let told = lost.map(|host| {
        let text = format!("there is no route to the backend {host}");
        Finding::fault(text).fix(format!(
            "ip route get {host}; ip route add {host} via ROUTER"
        ))
    });
    or_ok(told.collect(), counted(hosts.len(), "host"))
}

pub(super) fn firewall(patient: &Patient) -> Vec<Finding> {
    let Some(config) = patient.config() else {
        return unknown(patient);
    };
    let asked = Command::new("nft")
        .args(["--stateless", "list", "ruleset"])
        .output();
    let rules = match asked {
        Ok(said) if said.status.success() => String::from_utf8_lossy(&said.stdout).into_owned(),
        Ok(_) => return vec![Finding::skipped("nft may not read the rules")],
        Err(_) => return vec![Finding::skipped("there is no nft to ask")],
    };
    match closed(&rules, &config.range.to_string()) {
        None => vec![Finding::ok(
            "no input chain refuses by default, or the range is let in",
        )],
        Some(chain) => {
            let text = format!(
                "the chain {chain} drops by default, and no rule of it names {}",
                config.range
            );
            let [family, table, chain] = split(&chain);
            let fix = format!(
                "nft add rule {family} {table} {chain} meta l4proto {{ tcp, udp }} th dport {} accept",
                config.range
            );
            vec![Finding::warning(text).fix(fix)]
        }
    }
}

/// `family table chain`
fn split(chain: &str) -> [&str; 3] {
    let mut words = chain.split(' ');
    [(); 3].map(|()| words.next().unwrap_or_default())
}

/// The first input chain that drops what no rule lets in, and none lets this range in.
fn closed(rules: &str, range: &str) -> Option<String> {
    let (mut table, mut chain) = ("", "");
    let mut found = None;
    for line in rules.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("table ") {
            table = rest.trim_end_matches(" {");
        } else if let Some(rest) = line.strip_prefix("chain ") {
            chain = rest.trim_end_matches(" {");
        } else if line.contains("hook input") && line.contains("policy drop") {
            found = found.or(Some(format!("{table} {chain}")));
        } else if line.contains("dport") && line.contains(range) && line.contains("accept") {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_that_drops_by_default_is_found_unless_it_lets_the_range_in() {
        let chain = |policy: &str, rule: &str| {
            format!(
                "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; \
                 policy {policy};\n\t\t{rule}\n\t}}\n}}\n"
            )
        };
        let range = "35000-40000";
        let of = |policy, rule| closed(&chain(policy, rule), range);
        assert_eq!(
            of("drop", "tcp dport 22 accept").as_deref(),
            Some("inet filter input")
        );
        assert_eq!(of("accept", ""), None);
        assert_eq!(of("drop", "tcp dport 35000-40000 accept"), None);
        assert_eq!(closed("", range), None);
        assert_eq!(split("inet filter input"), ["inet", "filter", "input"]);
    }
}
