//! What scripts answer, read without trust: bytes become numbers, records and names here or not at
//! all.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::super::{journal::Position, now, record, watch::Claim};
use super::{
    connection::Fault,
    state::{Record, Snapshot},
};
use crate::model::{
    AppHost, BackendRule, NodeRecord, Pool, Pools, Protocol, Service, Spoken, check_name,
};

/// What was said longer ago counts no more: four beats.
const CLAIM_MS: u64 = 2_000;

/// Bytes as they came.
pub(super) type Bytes = Vec<u8>;
/// Id, record (empty: none or too long), its size.
type Row = (Bytes, Bytes, u64);
/// The answer of `snapshot`.
pub(super) type SnapshotAnswer = (Bytes, Bytes, Vec<Row>, Vec<(Bytes, Bytes)>);
/// The answer of `look`.
pub(super) type LookAnswer = (
    Bytes,
    Bytes,
    Bytes,
    Vec<(Bytes, Bytes, Bytes, i64)>,
    Bytes,
    Bytes,
    redis::Value,
);
/// The answer of `pools`.
pub(super) type PoolsAnswer = (Bytes, Vec<(Bytes, Bytes)>);
/// The answer of `hear`.
type HeardAnswer = (Bytes, Vec<(Bytes, Bytes)>);

/// The rules for records: of the services that this node has, and of others'.
pub(super) struct Rules<'a> {
    pub(super) node: &'a str,
    pub(super) own: &'a BackendRule,
    pub(super) pools: &'a Pools,
}

impl Rules<'_> {
    /// A record that may be missing.
    fn record(&self, id: &str, bytes: &[u8], size: u64) -> Record {
        if bytes.is_empty() {
            return Err(format!("it has {size} bytes"));
        }
        let others = BackendRule {
            allowed: self.own.allowed.clone(),
            ..BackendRule::default()
        };
        let service = record::read(id, bytes, &others)?;
        if service.is_of(self.node, self.pools) {
            record::check(&service, self.own).map_err(|refusal| refusal.description)?;
        }
        Ok(service)
    }
}

/// What has happened since the last look.
pub(super) struct Look {
    /// Empty: the registry was emptied.
    pub(super) incarnation: String,
    pub(super) seq: u64,
    /// Whose agent may write for this node; empty: nobody's.
    pub(super) token: String,
    /// For how long nobody has said that this node lives.
    pub(super) silence: Duration,
    /// In order: number of the change, service, and its record (`None`: it is gone).
    pub(super) changes: Vec<(u64, String, Option<Record>)>,
    /// Number of the last change of a pool.
    pub(super) pools: u64,
    /// What app hosts have said, or why that cannot be read.
    pub(super) heard: Result<Heard, String>,
}

/// What app hosts have said since the last time, and how far that goes.
#[derive(Default)]
pub(super) struct Heard {
    pub(super) words: Vec<String>,
    /// In the server's own words.
    pub(super) place: String,
}

pub(super) fn look(answer: LookAnswer, rules: &Rules<'_>) -> Look {
    let (incarnation, seq, token, changes, silence, pools, said) = answer;
    let change = |(entry, id, record, size): (Bytes, Bytes, Bytes, i64)| {
        let id = text(&id);
        let size = u64::try_from(size).ok();
        let record = size.map(|size| rules.record(&id, &record, size));
        (entry_number(&entry), id, record)
    };
    Look {
        incarnation: text(&incarnation),
        seq: number(&seq),
        token: text(&token),
        silence: match silence.is_empty() {
            true => Duration::MAX,
            false => Duration::from_millis(number(&silence)),
        },
        changes: changes.into_iter().map(change).collect(),
        pools: number(&pools),
        heard: heard(said),
    }
}

fn heard(answer: redis::Value) -> Result<Heard, String> {
    if let redis::Value::BulkString(why) = &answer {
        return Err(text(why));
    }
    let (place, entries): HeardAnswer =
        redis::from_redis_value(answer).map_err(|error| error.to_string())?;
    let mut words = Vec::new();
    for (entry, said) in entries {
        match String::from_utf8(said) {
            Ok(said) if !said.is_empty() => words.push(said),
            _ => tracing::warn!(
                "announcement {} is skipped: no text of 1 to 16384 bytes",
                text(&entry)
            ),
        }
    }
    Ok(Heard {
        words,
        place: text(&place),
    })
}

pub(super) fn snapshot(answer: SnapshotAnswer, rules: &Rules<'_>) -> Snapshot {
    let (incarnation, seq, rows, resting) = answer;
    let record = |(id, bytes, size): Row| {
        let id = text(&id);
        let record = rules.record(&id, &bytes, size);
        (id, record)
    };
    let now = now();
    let rest = |(key, left): &(Bytes, Bytes)| Some((half(&text(key))?, now + number(left)));
    Snapshot {
        position: Position {
            incarnation: text(&incarnation),
            seq: number(&seq),
        },
        records: rows.into_iter().map(record).collect(),
        resting: resting.iter().filter_map(rest).collect::<BTreeMap<_, _>>(),
    }
}

/// What a node has said of a share; `None`: nothing lately.
pub(super) fn claim((ago, said): &(Bytes, Bytes)) -> Option<Claim> {
    let is_late = ago.is_empty() || number(ago) > CLAIM_MS;
    (!is_late).then(|| Claim {
        is_held: said.contains(&b'h'),
        is_partial: said.contains(&b'p'),
        is_ready: said.contains(&b'r'),
    })
}

/// Pools as they came; what cannot be read is left out.
pub(super) fn pools((seq, rows): PoolsAnswer) -> (u64, Pools) {
    let read = |(name, record): (Bytes, Bytes)| {
        let pool: Pool = serde_json::from_slice(&record).map_err(|error| error.to_string())?;
        pool.check().map_err(|refusal| refusal.description)?;
        match pool.name == text(&name) {
            true => Ok(pool),
            false => Err("it names another pool".to_owned()),
        }
    };
    let mut pools = Vec::new();
    for row in rows {
        let name = text(&row.0);
        match read(row) {
            Ok(pool) => pools.push(pool),
            Err(why) => tracing::error!("the record of pool {name:?} is refused: {why}"),
        }
    }
    pools.sort_by(|a, b| a.name.cmp(&b.name));
    (number(&seq), Pools(pools))
}

pub(super) fn app_hosts(rows: Vec<(Bytes, Bytes, Bytes)>) -> Vec<AppHost> {
    let host = |(dea, spoken, left): (Bytes, Bytes, Bytes)| {
        let dea = text(&dea);
        check_name("dea", &dea).ok()?;
        let (epoch, seq) = std::str::from_utf8(&spoken).ok()?.split_once(':')?;
        let spoken = Spoken {
            epoch: epoch.parse().ok()?,
            seq: seq.parse().ok()?,
        };
        let lease_left = match left.is_empty() {
            true => None,
            false => Some(Duration::from_millis(number(&left))),
        };
        Some(AppHost {
            dea,
            spoken,
            lease_left,
        })
    };
    rows.into_iter().filter_map(host).collect()
}

pub(super) fn nodes(rows: Vec<(Bytes, Bytes, Bytes, u64)>) -> Vec<NodeRecord> {
    let node = |(id, facts, ago, drained): (Bytes, Bytes, Bytes, u64)| {
        let id = text(&id);
        check_name("id", &id).ok()?;
        let facts: serde_json::Value = serde_json::from_slice(&facts).unwrap_or_default();
        let version: String = facts["version"]
            .as_str()
            .unwrap_or("?")
            .chars()
            .take(32)
            .collect();
        Some(NodeRecord {
            id,
            version,
            addresses: addresses(&facts["addresses"]),
            sync: facts["sync"].as_str().and_then(|text| text.parse().ok()),
            seen_ms_ago: (!ago.is_empty()).then(|| number(&ago)),
            drained: drained == 1,
        })
    };
    rows.into_iter().filter_map(node).collect()
}

/// Addresses that a node says are its own; the first of many.
fn addresses(said: &serde_json::Value) -> Vec<IpAddr> {
    let said = said.as_array().into_iter().flatten().take(64);
    said.filter_map(|one| one.as_str()?.parse().ok()).collect()
}

/// `tcp/35000`, as the key of one half of a number.
pub(super) fn half_key(protocol: Protocol, port: u16) -> String {
    format!("{protocol}/{port}")
}

/// The halves that a service takes.
pub(super) fn halves(service: &Service) -> Vec<String> {
    let key = |protocol: &Protocol| half_key(*protocol, service.port);
    service.protocols.each().iter().map(key).collect()
}

/// Reads `tcp/35000`.
pub(super) fn half(text: &str) -> Option<(Protocol, u16)> {
    let (protocol, port) = text.split_once('/')?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return None,
    };
    Some((protocol, port.parse().ok().filter(|&port| port != 0)?))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// 0 for what is none; a score may have a fraction.
fn number(bytes: &[u8]) -> u64 {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.split('.')
        .next()
        .and_then(|whole| whole.parse().ok())
        .unwrap_or_default()
}

/// `7-0` is 7.
fn entry_number(bytes: &[u8]) -> u64 {
    let text = text(bytes);
    match text.split_once('-') {
        Some((number, "0")) => number.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// Services that could not be placed, and why.
pub(super) fn not_placed(rows: Vec<(Bytes, Bytes)>) -> Vec<(String, String)> {
    rows.iter().map(|(id, why)| (text(id), text(why))).collect()
}

/// The record that `allocate` found or wrote.
pub(super) fn recorded(id: &str, bytes: &[u8], rules: &Rules<'_>) -> Result<Service, Fault> {
    rules
        .record(id, bytes, bytes.len() as u64)
        .map_err(Fault::strange)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, Share, testing::service};

    #[test]
    fn what_a_node_serves_as_one_of_a_pool_is_held_against_its_own_rule() {
        let own: BackendRule = BackendRule {
            own: vec!["10.0.0.2".parse().unwrap()],
            ..BackendRule::default()
        };
        let pool = |node: &str| Pool {
            name: "p".into(),
            hostname: String::new(),
            created_at: 1,
            revision: 1,
            shares: vec![Share {
                id: "a".into(),
                number: 1,
                public: vec!["192.0.2.1".parse().unwrap()],
                translation: vec!["10.0.0.9".parse().unwrap()],
                nodes: vec![node.to_owned()],
                moved_to: String::new(),
            }],
        };
        let mut looping = service("web", 35_000, Protocols::Tcp);
        (looping.node, looping.pool) = ("one".into(), "p".into());
        let backend = "10.0.0.2:35000".parse().unwrap();
        looping.add_backend(backend, None, 1).unwrap();
        let bytes = serde_json::to_vec(&looping).unwrap();
        for (member, is_refused) in [("two", true), ("three", false)] {
            let pools = Pools(vec![pool(member)]);
            let rules = Rules {
                node: "two",
                own: &own,
                pools: &pools,
            };
            let read = rules.record(&looping.id, &bytes, bytes.len() as u64);
            assert_eq!(read.is_err(), is_refused, "{member}: {read:?}");
        }
    }

    #[test]
    fn halves_of_numbers_are_read_strictly() {
        assert_eq!(half("udp/35000"), Some((Protocol::Udp, 35_000)));
        for text in ["tcp", "tcp/", "tcp/0", "tcp/65536", "sctp/1", "TCP/1"] {
            assert_eq!(half(text), None, "{text}");
        }
        assert_eq!((number(b"17.5"), number(b"x"), number(b"")), (17, 0, 0));
        assert_eq!((entry_number(b"7-0"), entry_number(b"7-1")), (7, 0));
    }
}
