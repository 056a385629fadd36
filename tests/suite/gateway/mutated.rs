//! Requests that are wrong in every way: none ends the agent, none changes anything, none is a
//! server's error, and the agent does not grow.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::{BASIC, FREE, Ground, Platform, SERVICE, VERSION, order};
use crate::model::random::Random;

/// Requests in CI; the soak sends a million.
const REQUESTS: usize = 20_000;
/// What the agent may grow by: buffers of a hundred requests, not of thousands.
const GROWTH_KIB: u64 = 32 * 1024;

/// Values that no id of the catalog, and no setting, may have.
const ODD: [&str; 16] = [
    "true",
    "-1",
    "1e308",
    "18446744073709551616",
    "[[]]",
    "[1]",
    "{\"a\":1}",
    "{\"type\":\"x\"}",
    "\"\\u0000\"",
    "\"\\u001b[31m\"",
    "\"x y\"",
    "\"../../etc\"",
    "[null]",
    "[{}]",
    "\"99999999999999999999\"",
    "-0.5",
];

const SETTINGS: [&str; 12] = [
    "policy",
    "udp_policy",
    "allowed_cidrs",
    "denied_cidrs",
    "max_connections",
    "affinity_s",
    "drain_s",
    "health",
    "limits",
    "port",
    "for",
    "no_such_thing",
];

#[test]
fn mutated_requests_change_nothing() {
    println!("{}", withstands(REQUESTS));
}

/// Sends so many; says what became of them.
pub(crate) fn withstands(requests: usize) -> String {
    let mut ground = Ground::start("");
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("web", &json!({"drain_s": 7})))
            .0,
        201
    );
    assert_eq!(ground.platform.bind("i1", "b1", "app").0, 201);
    let state = |ground: &Ground| {
        let export = ground.agent.ctl_json(&["state", "export"]);
        (export["services"].clone(), export["resting"].clone())
    };
    let before = state(&ground);
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = since.unwrap().as_nanos() as u64 | 1;
    let mut random = Random(seed);
    let mut by_status = std::collections::BTreeMap::new();
    let mut first_size = 0;
    for count in 0..requests {
        if count == requests / 10 {
            first_size = ground.agent.process().memory();
        }
        let octets = request(&mut random);
        let shown = String::from_utf8_lossy(&octets)
            .chars()
            .take(2_000)
            .collect::<String>();
        let answer = ground.platform.http.send(&octets);
        let (status, body) =
            answer.unwrap_or_else(|error| panic!("seed {seed}, request {count}: {error}\n{shown}"));
        assert!(
            status == 0 || (400..500).contains(&status),
            "seed {seed}, request {count}: {status} {}\n{shown}",
            String::from_utf8_lossy(&body)
        );
        *by_status.entry(status).or_insert(0_usize) += 1;
    }
    let grown = ground.agent.process().memory().saturating_sub(first_size);
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB");
    assert!(ground.agent.is_running());
    // The last request may have cost the connection.
    ground.platform = Platform::of(&ground.lab);
    assert_eq!(state(&ground), before, "seed {seed}");
    assert_eq!(
        ground
            .platform
            .provision("i1", &order("web", &json!({"drain_s": 7})))
            .0,
        200
    );
    for common in [400, 401, 412] {
        assert!(by_status.contains_key(&common), "{by_status:?}");
    }
    format!("{requests} requests by status {by_status:?}, grown by {grown} KiB")
}

/// A request that must be refused.
fn request(random: &mut Random) -> Vec<u8> {
    let (method, path) = place(random);
    let (header, body) = match random.below(8) {
        0 => (
            spoilt_header(random),
            order("web", &Value::Null).to_string().into_bytes(),
        ),
        1 => return raw(random),
        _ => (format!("{BASIC}{VERSION}"), spoilt_body(random)),
    };
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), &body].concat()
}

/// Where something can be changed, if the rest is right.
fn place(random: &mut Random) -> (&'static str, String) {
    let instance = random.of(&["i1", "i2", "%00", "a%20b", "..", "%ff"]);
    let binding = format!(
        "{instance}/service_bindings/{}",
        random.of(&["b1", "b2", "%0a"])
    );
    let wrong = [
        "",
        "?service_id=x",
        "?plan_id=%ff",
        "?service_id=a&service_id=b",
    ];
    let query = random.of(&wrong);
    let path = match random.once_in(2) {
        true => instance.to_owned(),
        false => binding,
    };
    let is_binding = path.contains('/');
    match random.below(3) {
        0 => ("DELETE", format!("/v2/service_instances/{path}{query}")),
        1 if !is_binding => ("PATCH", format!("/v2/service_instances/{path}")),
        _ => ("PUT", format!("/v2/service_instances/{path}")),
    }
}

fn spoilt_body(random: &mut Random) -> Vec<u8> {
    let good = order("web", &json!({"policy": "first"}));
    let mut text = good.to_string().into_bytes();
    match random.below(6) {
        0 => text.truncate(random.below(text.len())),
        1 => {
            for _ in 0..=random.below(6) {
                let place = random.below(text.len());
                // Never white space, and in no string of JSON.
                text[place] = random.below(8) as u8;
            }
        }
        2 => text = [&[0_u8], &random.bytes(200)[..]].concat(),
        3 => {
            let mut odd = good;
            let field = random.of(&["service_id", "plan_id"]);
            odd[field] = value(random);
            text = odd.to_string().into_bytes();
        }
        4 => text = vec![b'['; 1 + random.below(70_000)],
        _ => {
            // An instance takes no such value, and a binding no parameter at all.
            let key = random.of(&SETTINGS);
            let body = json!({
                "service_id": SERVICE, "plan_id": FREE, "organization_guid": "o",
                "space_guid": "s", "parameters": {key: value(random)}
            });
            text = body.to_string().into_bytes();
        }
    }
    text
}

fn value(random: &mut Random) -> Value {
    serde_json::from_str(random.of(&ODD)).unwrap_or(json!(1e300))
}

fn spoilt_header(random: &mut Random) -> String {
    let junk: String = (0..random.below(60))
        .map(|_| char::from(33 + random.below(90) as u8))
        .collect();
    // Wrong passwords are slowed down, so they are few.
    match random.below(40) {
        0 => format!("Authorization: Basic {junk}\r\n{VERSION}"),
        1 => format!("Authorization: {junk}\r\n{VERSION}"),
        2..20 => format!("{BASIC}X-Broker-API-Version: {junk}\r\n"),
        _ => format!("{BASIC}{VERSION}X-Broker-API-Originating-Identity: {junk}\r\n"),
    }
}

/// Octets that are no request.
fn raw(random: &mut Random) -> Vec<u8> {
    let length = 1 + random.below(300);
    let mut octets = random.bytes(length);
    octets[0] = 0;
    octets.extend(b"\r\n\r\n");
    octets
}
