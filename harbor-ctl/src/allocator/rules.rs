//! Numbers that rules of nftables forward to somebody else: DNAT and redirection before routing.
//!
//! Read by the program `nft`, which also shows what iptables-nft has made; where there is none, no
//! rule is known. Only rules that name numbers count: what forwards everything is a firewall's
//! business and not a number's. Whatever else a rule compares only narrows it, and is not looked at.

mod expression;
mod program;

use std::{
    collections::BTreeMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use self::expression::{Packets, Selector, Sets, is_translation};
use crate::model::Protocol;

/// Chains that are entered on one way, and steps of a whole walk: a ruleset may be a maze.
const DEPTH: usize = 16;
const STEPS: usize = 200_000;

/// What the rules forward, as it was read at some moment.
static LAST: Mutex<Option<(Instant, Arc<Forwards>)>> = Mutex::new(None);

/// The rules that forward numbers.
#[derive(Debug, Default)]
pub(super) struct Forwards(Vec<Forward>);

#[derive(Debug, PartialEq, Eq)]
struct Forward {
    protocol: Protocol,
    ports: RangeInclusive<u16>,
    rule: Arc<str>,
}

impl Forwards {
    /// What the rules of this network namespace forward, read no longer ago than this. Blocks.
    pub(super) fn read(age: Duration) -> Arc<Self> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, known)) if at.elapsed() < age => Arc::clone(known),
            _ => {
                let read = Arc::new(program::ruleset().map_or_else(Self::default, Self::of));
                *last = Some((Instant::now(), Arc::clone(&read)));
                read
            }
        }
    }

    /// The rule that forwards a number, as `nft` names one.
    pub(super) fn rule(&self, protocol: Protocol, port: u16) -> Option<&str> {
        let mut all = self.0.iter();
        let found = all.find(|one| one.protocol == protocol && one.ports.contains(&port));
        found.map(|one| &*one.rule)
    }

    /// Reads what `nft -j list ruleset` has printed.
    fn of(ruleset: Value) -> Self {
        let empty = Vec::new();
        let objects = ruleset["nftables"].as_array().unwrap_or(&empty);
        let mut walk = Walk::default();
        for object in objects {
            walk.sets.learn(object);
            if let Some(rule) = object.get("rule") {
                let chain = walk
                    .chains
                    .entry(name_of(rule, &rule["chain"]))
                    .or_default();
                chain.push(rule);
            }
        }
        for object in objects {
            let chain = &object["chain"];
            if chain["type"] == "nat"
                && (chain["hook"] == "prerouting" || chain["hook"] == "output")
            {
                walk.enter(&name_of(chain, &chain["name"]), &Packets::all(), 0);
            }
        }
        Self(walk.found)
    }
}

/// `family table chain`
fn name_of(object: &Value, chain: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [&object["family"], &object["table"], chain]
        .map(text)
        .join(" ")
}

#[derive(Default)]
struct Walk<'a> {
    sets: Sets<'a>,
    chains: BTreeMap<String, Vec<&'a Value>>,
    found: Vec<Forward>,
    steps: usize,
}

impl Walk<'_> {
    /// Follows packets into a chain.
    fn enter(&mut self, chain: &str, packets: &Packets, depth: usize) {
        let Some(rules) = self.chains.get(chain).filter(|_| depth < DEPTH).cloned() else {
            return;
        };
        for rule in rules {
            self.steps += 1;
            if self.steps > STEPS {
                return;
            }
            self.follow(rule, packets.clone(), depth);
        }
    }

    fn follow(&mut self, rule: &Value, mut packets: Packets, depth: usize) {
        let (family, table) = (&rule["family"], &rule["table"]);
        let target = |verdict: &Value| {
            let verdict = verdict.get("jump").or_else(|| verdict.get("goto"))?;
            Some(name_of(rule, &verdict["target"]))
        };
        for statement in rule["expr"].as_array().into_iter().flatten() {
            if let Some(compared) = statement.get("match") {
                if compared["op"] == "==" || compared["op"] == "in" {
                    let selector = Selector::of(&compared["left"]);
                    let values = self.sets.values((family, table), &compared["right"]);
                    packets.keep(&selector, values);
                }
            } else if let Some(map) = statement.get("vmap") {
                let selector = Selector::of(&map["key"]);
                for (key, verdict) in self.sets.pairs((family, table), &map["data"]) {
                    if let Some(chain) = target(verdict) {
                        let mut some = packets.clone();
                        some.keep(&selector, vec![key]);
                        self.enter(&chain, &some, depth + 1);
                    }
                }
            } else if let Some(chain) = target(statement) {
                self.enter(&chain, &packets, depth + 1);
            } else if is_translation(statement) {
                for part in ["addr", "port"] {
                    let verb = statement.get("dnat").or_else(|| statement.get("redirect"));
                    let map = verb.and_then(|verb| verb.get(part)?.get("map"));
                    if let Some(map) = map {
                        let pairs = self.sets.pairs((family, table), &map["data"]);
                        let keys = pairs.into_iter().map(|(key, _)| key).collect();
                        packets.keep(&Selector::of(&map["key"]), keys);
                    }
                }
                self.note(rule, &packets);
            }
        }
    }

    fn note(&mut self, rule: &Value, packets: &Packets) {
        let chain = name_of(rule, &rule["chain"]);
        let name: Arc<str> = format!("{chain} handle {}", rule["handle"]).into();
        let forward = |(protocol, ports)| Forward {
            protocol,
            ports,
            rule: Arc::clone(&name),
        };
        self.found.extend(packets.named().map(forward));
    }
}

#[cfg(test)]
mod tests;
