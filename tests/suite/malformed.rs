//! Announcements that are wrong: none of them ends the agent, and none changes anything.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use kit::{Agent, Config, Lab, Redis, eventually, http::Http};
use serde_json::{Value, json};

use crate::model::random::Random;

/// Messages in CI; the soak sends a million.
const MESSAGES: usize = 20_000;

#[test]
fn malformed_announcements_change_nothing() {
    println!("{}", run(MESSAGES));
}

#[test]
fn malformed_announcements_over_redis_change_nothing() {
    let lab = Lab::routed();
    let place = SocketAddr::new(lab.app(kit::V4, 1), 6_379);
    let redis = Redis::start(&lab.apps[1], lab.folder(), place);
    let mut agent = Agent::start_with(&lab, &Config::with(&redis.config("one")));
    populate(&agent);
    let before = state(&agent);
    let mut random = fresh();
    let write = |document: &[u8]| {
        let hex: String = document
            .iter()
            .map(|byte| format!("\\x{byte:02x}"))
            .collect();
        format!("XADD {{harbor:harbor}}:announce * m \"{hex}\"\n")
    };
    let mut sent = 0;
    while sent < MESSAGES {
        let mut lines = String::new();
        for _ in 0..1_000 {
            let document = document(&mut random);
            if !is_right(&document) {
                lines.push_str(&write(&document));
                sent += 1;
            }
        }
        redis.say_all(&lines);
    }
    // What comes last is noticed: then all of it was read.
    let heartbeat = json!({"v": 1, "dea": "last", "epoch": 1, "seq": 1, "digest": "0".repeat(64)});
    redis.say_all(&write(heartbeat.to_string().as_bytes()));
    eventually(Duration::from_secs(60), || {
        let hosts = agent.items(&["dea", "list"]);
        hosts.iter().any(|host| host["dea"] == "last")
    });
    assert!(agent.is_running());
    let heard = |state: &Value| json!([state[0][0], state[1]]);
    assert_eq!(heard(&state(&agent)), heard(&before));
    println!("{sent} documents over Redis, none taken over");
}

/// Another one each time.
fn fresh() -> Random {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Random(since.unwrap().as_nanos() as u64 | 1)
}

/// Sends so many; says what became of them.
pub(crate) fn run(messages: usize) -> String {
    let lab = Lab::routed();
    let mut agent = Agent::start(&lab);
    populate(&agent);
    let before = state(&agent);
    let mut random = fresh();
    let seed = random.0;
    let mut http = Http::new(&agent.socket());
    let (mut refused, mut skipped) = (0, 0);
    for count in 0..messages {
        if random.below(50) == 0 {
            let octets = raw(&mut random);
            // Nothing but empty lines is no request yet: more is waited for.
            if octets.iter().all(|octet| b"\r\n".contains(octet)) {
                continue;
            }
            let (status, _) = http.send(&octets).unwrap();
            assert!(
                status == 0 || (400..500).contains(&status),
                "{status}: {octets:02x?}"
            );
            continue;
        }
        let document = document(&mut random);
        if is_right(&document) {
            skipped += 1;
            continue;
        }
        let path = random.of(&["/v1/announce", "/v1/heartbeat"]);
        let (status, body) = http.post(path, &document).unwrap();
        let shown = String::from_utf8_lossy(&document);
        assert!(
            (400..500).contains(&status),
            "seed {seed}, message {count}: {status} {}\n{shown}",
            String::from_utf8_lossy(&body),
        );
        let error: Value = serde_json::from_slice(&body).unwrap();
        assert!(
            error["error"].is_string() && error["description"].is_string(),
            "{error}"
        );
        refused += 1;
    }
    assert!(refused > messages / 2);
    assert!(agent.is_running());
    assert_eq!(state(&agent), before);
    format!("{refused} of {messages} documents refused, {skipped} were right and not sent")
}

fn populate(agent: &Agent) {
    let backends = [
        "--backend",
        "10.77.2.11:9001",
        "--backend",
        "10.77.2.12:9001",
    ];
    for name in ["web", "udp-game", "both-sip"] {
        agent.create(&[&[name], &backends[..]].concat());
    }
}

/// What the registry and the kernel hold, without what changes by itself; app hosts last.
fn state(agent: &Agent) -> Value {
    let mut services = agent.items(&["backends", "list"]);
    services.extend(agent.items(&["ports", "list"]));
    for item in &mut services {
        item.as_object_mut().unwrap().remove("age_s");
    }
    let hosts = agent.items(&["dea", "list"]);
    let config = agent.config_file().display().to_string();
    let dump = |map: &str| agent.ctl_json(&["datapath", "dump", map, "--config", &config]);
    let maps: Vec<Value> = ["frontends", "backends", "endpoints"].map(dump).into();
    json!([[services, hosts], maps])
}

/// An announcement, a full one or a heartbeat, with something changed in it.
fn document(random: &mut Random) -> Vec<u8> {
    let head = json!({"v": 1, "dea": "dea1", "epoch": 5, "seq": 1 + random.below(1_000)});
    let instance = json!({
        "service": random.of(&["web", "udp-game", "both-sip"]),
        "instance": "i-0", "ip": "10.77.2.13", "port": 4100, "state": "up",
    });
    let mut document = head;
    match random.below(4) {
        0 => document["instances"] = json!([instance]),
        1 => document["digest"] = "0".repeat(64).into(),
        _ => {
            for (key, value) in instance.as_object().unwrap() {
                document[key] = value.clone();
            }
        }
    }
    if random.below(3) > 0 {
        spoil(&mut document, random);
    }
    let mut octets = document.to_string().into_bytes();
    for _ in 0..random.below(4) {
        scratch(&mut octets, random);
    }
    octets
}

/// Gives a field a value that it cannot have, takes one away, or adds one.
fn spoil(document: &mut Value, random: &mut Random) {
    let place = match document.get_mut("instances") {
        Some(Value::Array(instances)) if random.below(2) == 0 => &mut instances[0],
        _ => document,
    };
    let fields = place.as_object_mut().unwrap();
    let keys: Vec<String> = fields.keys().cloned().collect();
    let key = random.of(&keys);
    let strange = [
        json!(null),
        json!(-1),
        json!(0),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("x".repeat(70)),
        json!("a b"),
        json!("\u{1b}[31m"),
        json!("127.0.0.1"),
        json!("169.254.169.254"),
        json!("10.77.1.1"),
        json!("::ffff:10.77.2.13"),
        json!("224.0.0.1"),
        json!([[[[[[]]]]]]),
        json!({"a": {"b": {}}}),
        json!(true),
    ];
    match random.below(6) {
        0 => {
            fields.remove(&key);
        }
        1 => {
            fields.insert(format!("{key}x"), json!(1));
        }
        _ => {
            fields.insert(key, random.of(&strange));
        }
    }
}

/// Changes octets without regard to what they mean.
fn scratch(octets: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(octets.len().max(1));
    match random.below(5) {
        0 => octets.truncate(at),
        1 if !octets.is_empty() => octets[at] ^= 1 << random.below(8),
        2 if !octets.is_empty() => octets[at] = random.below(256) as u8,
        3 => octets.insert(at.min(octets.len()), random.below(256) as u8),
        _ => {
            let copy = octets[at.min(octets.len())..].to_vec();
            octets.extend(copy);
        }
    }
}

/// Octets that are no request.
fn raw(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(200);
    let mut octets: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
    if random.below(2) == 0 {
        octets.splice(
            0..0,
            *b"POST /v1/announce HTTP/1.1\r\nContent-Length: -1\r\n",
        );
    }
    octets.extend(b"\r\n\r\n");
    octets
}

/// Whether an app host may say this, by the manual: judged apart from the agent.
fn is_right(document: &[u8]) -> bool {
    let Ok(Value::Object(mut fields)) = serde_json::from_slice(document) else {
        return false;
    };
    let mut number = |key: &str| fields.remove(key).and_then(|value| value.as_u64());
    let (version, epoch, seq) = (number("v"), number("epoch"), number("seq"));
    let dea = fields.remove("dea");
    if version != Some(1) || epoch.is_none() || seq.is_none() || !is_name(dea.as_ref()) {
        return false;
    }
    if let Some(digest) = fields.get("digest") {
        let is_digest = digest.as_str().is_some_and(|text| {
            text.len() == 64 && text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'))
        });
        return is_digest && fields.len() == 1;
    }
    match fields.get("instances") {
        Some(Value::Array(all)) if fields.len() == 1 => all.iter().all(is_instance),
        Some(_) => false,
        None => is_instance(&Value::Object(fields)),
    }
}

/// Wrong places are an answer of their own in a full announcement, so a place alone is not judged.
fn is_instance(value: &Value) -> bool {
    let Some(fields) = value.as_object() else {
        return false;
    };
    const ALL: [&str; 9] = [
        "service", "instance", "app", "index", "ip", "port", "protocol", "weight", "state",
    ];
    let is_known = fields.keys().all(|key| ALL.contains(&key.as_str()));
    let is_optional = |key: &str, is_right: &dyn Fn(&Value) -> bool| {
        fields
            .get(key)
            .is_none_or(|value| value.is_null() || is_right(value))
    };
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    is_known
        && is_service(text("service"))
        && is_name(fields.get("instance"))
        && text("ip").is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_ok())
        && fields
            .get("port")
            .and_then(Value::as_u64)
            .is_some_and(|p| (1..65_536).contains(&p))
        && text("state").is_some_and(|state| ["up", "draining", "down"].contains(&state))
        && is_optional("app", &|value| is_name(Some(value)))
        && is_optional("index", &|value| {
            value.as_u64().is_some_and(|n| n <= u64::from(u32::MAX))
        })
        && is_optional("weight", &|value| {
            value.as_u64().is_some_and(|n| (1..=100).contains(&n))
        })
        && is_optional("protocol", &|value| {
            ["tcp", "udp"].map(Value::from).contains(value)
        })
}

fn is_service(text: Option<&str>) -> bool {
    let Some(text) = text else { return false };
    match text.split_once('/') {
        None => is_name(Some(&text.into())),
        Some((number, protocol)) => {
            number.parse::<u16>().is_ok_and(|number| number > 0)
                && ["tcp", "udp"].contains(&protocol)
        }
    }
}

fn is_name(value: Option<&Value>) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    value
        .and_then(Value::as_str)
        .is_some_and(|text| (1..=64).contains(&text.len()) && text.chars().all(is_plain))
}
