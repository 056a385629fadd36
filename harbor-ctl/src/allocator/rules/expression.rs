//! The expressions of nftables' rules, as far as they name protocols and numbers (libnftables-json(5)).

use std::{collections::HashMap, ops::RangeInclusive};

use serde_json::Value;

use crate::model::Protocol;

/// A protocol and the numbers of it.
type Part = (Protocol, RangeInclusive<u16>);

/// Which packets come so far.
#[derive(Clone, Debug)]
pub(super) struct Packets {
    parts: Vec<Part>,
    /// A rule has named their numbers.
    is_named: bool,
}

impl Packets {
    pub(super) fn all() -> Self {
        let parts = [Protocol::Tcp, Protocol::Udp].map(|protocol| (protocol, 0..=u16::MAX));
        Self {
            parts: parts.to_vec(),
            is_named: false,
        }
    }

    /// What is left of them when what the selector reads must be one of these.
    pub(super) fn keep(&mut self, selector: &Selector, values: Vec<&Value>) {
        if selector.port.is_none() && selector.protocol.is_none() {
            return;
        }
        self.is_named |= selector.port.is_some();
        let read: Vec<_> = values
            .iter()
            .filter_map(|value| selector.read(value))
            .collect();
        let mut left = Vec::new();
        for (protocol, ports) in &self.parts {
            for (wanted, range) in &read {
                let start = *ports.start().max(range.start());
                let end = *ports.end().min(range.end());
                if wanted.is_none_or(|wanted| wanted == *protocol) && start <= end {
                    left.push((*protocol, start..=end));
                }
            }
        }
        self.parts = left;
    }

    /// Those whose numbers are named.
    pub(super) fn named(&self) -> impl Iterator<Item = Part> {
        let parts = self.parts.iter().filter(|_| self.is_named);
        parts.cloned()
    }
}

/// Where in a value the protocol and the number stand; a value is a list of as many fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selector {
    port: Option<usize>,
    protocol: Option<usize>,
    /// What the number's own header says.
    implied: Option<Protocol>,
}

impl Selector {
    pub(super) fn of(left: &Value) -> Self {
        let fields = match left.get("concat") {
            Some(fields) => fields.as_array().map_or(&[][..], |fields| &fields[..]),
            None => std::slice::from_ref(left),
        };
        let mut selector = Self::default();
        for (place, field) in fields.iter().enumerate() {
            let header = &field["payload"];
            let what = header["protocol"].as_str().zip(header["field"].as_str());
            match what {
                Some((protocol @ ("tcp" | "udp" | "th"), "dport")) => {
                    selector.port = Some(place);
                    selector.implied = protocol_of(&Value::from(protocol));
                }
                Some(("ip", "protocol") | ("ip6", "nexthdr")) => selector.protocol = Some(place),
                _ if field["meta"]["key"] == "l4proto" => selector.protocol = Some(place),
                _ => {}
            }
        }
        selector
    }

    /// The protocol and the numbers that a value means; without a protocol it may be any. `None`: it
    /// means neither TCP nor UDP, or no number.
    fn read(&self, value: &Value) -> Option<(Option<Protocol>, RangeInclusive<u16>)> {
        let value = value.get("elem").map_or(value, |element| &element["val"]);
        let field = |place: usize| match value.get("concat") {
            Some(fields) => &fields[place],
            None => value,
        };
        let protocol = match self.protocol {
            Some(place) => Some(protocol_of(field(place))?),
            None => self.implied,
        };
        let ports = match self.port {
            Some(place) => ports_of(field(place))?,
            None => 0..=u16::MAX,
        };
        Some((protocol, ports))
    }
}

fn protocol_of(value: &Value) -> Option<Protocol> {
    match (value.as_str(), value.as_u64()) {
        (Some("tcp"), _) | (_, Some(6)) => Some(Protocol::Tcp),
        (Some("udp"), _) | (_, Some(17)) => Some(Protocol::Udp),
        _ => None,
    }
}

/// A number or a range.
fn ports_of(value: &Value) -> Option<RangeInclusive<u16>> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    let range = match value.get("range") {
        Some(ends) => number(&ends[0]).zip(number(&ends[1])),
        None => number(value).map(|number| (number, number)),
    };
    range.map(|(start, end)| start..=end)
}

/// Whether a statement sends packets elsewhere. iptables-nft leaves its targets to a module whose
/// name older programs do not print; in chains of this type they are translations.
pub(super) fn is_translation(statement: &Value) -> bool {
    let is_native = statement.get("dnat").is_some() || statement.get("redirect").is_some();
    is_native
        || statement.get("xt").is_some_and(|module| {
            module.is_null()
                || module["type"] == "target"
                    && (module["name"] == "DNAT" || module["name"] == "REDIRECT")
        })
}

/// Named sets and maps.
#[derive(Debug, Default)]
pub(super) struct Sets<'a>(HashMap<[&'a str; 3], &'a Vec<Value>>);

impl<'a> Sets<'a> {
    /// Notes a set or a map.
    pub(super) fn learn(&mut self, object: &'a Value) {
        let Some(set) = object.get("set").or_else(|| object.get("map")) else {
            return;
        };
        let text = |key: &str| set[key].as_str().unwrap_or_default();
        if let Some(elements) = set["elem"].as_array() {
            self.0
                .insert(["family", "table", "name"].map(text), elements);
        }
    }

    /// What the right side of a comparison lists.
    pub(super) fn values<'b>(&self, table: (&Value, &Value), right: &'b Value) -> Vec<&'b Value>
    where
        'a: 'b,
    {
        match self.elements(table, right) {
            Some(elements) => elements.iter().collect(),
            None => vec![right],
        }
    }

    /// The keys of a map with what they lead to.
    pub(super) fn pairs<'b>(
        &self,
        table: (&Value, &Value),
        data: &'b Value,
    ) -> Vec<(&'b Value, &'b Value)>
    where
        'a: 'b,
    {
        let elements = self.elements(table, data).into_iter().flatten();
        elements.map(|pair| (&pair[0], &pair[1])).collect()
    }

    /// A list in place, or the named one.
    fn elements<'b>(
        &self,
        (family, table): (&Value, &Value),
        value: &'b Value,
    ) -> Option<&'b Vec<Value>>
    where
        'a: 'b,
    {
        if let Some(list) = value.get("set") {
            return list.as_array();
        }
        let name = value.as_str()?.strip_prefix('@')?;
        let key = [family.as_str()?, table.as_str()?, name];
        static NONE: Vec<Value> = Vec::new();
        Some(self.0.get(&key).copied().unwrap_or(&NONE))
    }
}
