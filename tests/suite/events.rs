//! Events: each once and in order, whoever reads, however often it is cut off; and nobody waits for a
//! reader.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    os::unix::net::UnixStream,
    time::Duration,
};

use kit::{Agent, Config, Lab, Process, V4, binary, eventually, http::Http, until};
use serde_json::{Value, json};

use crate::registry::{other, redis_of};

const PATIENCE: Duration = Duration::from_secs(20);

/// A reader of the stream that keeps what it has heard.
struct Listener {
    process: Process,
}

impl Listener {
    /// From this event on.
    fn start(agent: &Agent, lab: &Lab, (name, since): (&str, u64)) -> Self {
        let mut curl = lab.node.command("curl");
        curl.args(["-sN", "--unix-socket"])
            .arg(agent.socket())
            .args(["-H", &format!("Last-Event-ID: {since}")])
            .arg("http://harbor/v1/events");
        Self {
            process: Process::start(&mut curl, lab.folder(), name),
        }
    }

    fn heard(&self) -> Vec<Value> {
        let text = self.process.printed();
        let whole = text.rfind("\n\n").map_or("", |end| &text[..end]);
        let data = whole.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|text| serde_json::from_str(text).unwrap())
            .collect()
    }

    /// Waits until it has heard of this port, and ends it.
    fn until_heard(self, name: &str) -> Vec<Value> {
        until(PATIENCE, || {
            let heard = self.heard();
            heard
                .iter()
                .any(|event| event["name"] == name)
                .then_some(heard)
        })
    }
}

fn ids(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event["id"].as_u64().unwrap())
        .collect()
}

#[test]
fn a_reader_that_is_cut_off_misses_nothing_and_hears_nothing_twice() {
    let lab = Lab::routed();
    let agent = Agent::start(&lab);
    let mut all = Vec::new();
    let mut last = 0;
    for round in 0..3 {
        let name = |what: &str| format!("{what}-{round}");
        let listener = Listener::start(&agent, &lab, (&name("reader"), last));
        agent.create(&[&name("heard")]);
        let mut heard = listener.until_heard(&name("heard"));
        last = *ids(&heard).last().unwrap();
        all.append(&mut heard);
        // While nobody listens.
        agent.create(&[&name("missed")]);
        agent
            .ctl(&["ports", "delete", &name("missed"), "--yes"])
            .ok();
    }
    let listener = Listener::start(&agent, &lab, ("last", last));
    agent.create(&["end"]);
    all.extend(listener.until_heard("end"));
    let kept = agent.items(&["events"]);
    assert_eq!(ids(&all), ids(&kept));
    assert!(ids(&all).windows(2).all(|two| two[0] + 1 == two[1]));
    let kinds: Vec<&str> = kept.iter().map(|e| e["kind"].as_str().unwrap()).collect();
    let of_one = ["port_allocated", "port_allocated", "port_released"];
    assert_eq!(
        kinds,
        [
            &["agent_started"],
            &of_one[..],
            &of_one,
            &of_one,
            &of_one[..1]
        ]
        .concat()
    );
}

#[test]
fn a_reader_that_does_not_read_holds_nobody() {
    let lab = Lab::routed();
    let agent = Agent::start_with(&lab, &Config::with("[ports]\nrange = \"33000-40000\"\n"));
    agent.create(&["web"]);
    let mut lazy = UnixStream::connect(agent.socket()).unwrap();
    lazy.write_all(b"GET /v1/events?since=0 HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    // More than any buffer between the two holds.
    let mut state = agent.ctl_json(&["state", "export"]);
    let web = state["services"][0].clone();
    let many = (0..5_000_u32).map(|n| {
        let mut service = web.clone();
        service["id"] = json!(format!("id-{n}"));
        service["name"] = json!(format!("name-{n}-{}", "x".repeat(40)));
        service["port"] = json!(33_000 + n);
        service
    });
    let is_free = |service: &Value| service["port"] != web["port"];
    let many: Vec<Value> = many.filter(is_free).collect();
    let count = many.len() + 1;
    state["services"] = many.into();
    let body = state.to_string();
    let mut http = Http::new(&agent.socket());
    let (status, answer) = http.post("/v1/state/import", body.as_bytes()).unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    // One that the agent has started, too.
    let count = count + 1;
    assert_eq!(agent.items(&["events"]).len(), count);
    agent.create(&["last"]);
    // Now it reads: all of it, in order.
    lazy.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut heard = Vec::new();
    for line in BufReader::new(lazy).lines() {
        let line = line.unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            heard.push(id.parse::<u64>().unwrap());
        }
        if heard.len() == count + 1 {
            break;
        }
    }
    assert!(heard.windows(2).all(|two| two[0] + 1 == two[1]));
}

#[test]
fn what_happens_to_backends_bindings_and_settings_is_told() {
    let lab = Lab::routed();
    let agent = Agent::start(&lab);
    agent.create(&["web", "--backend", &app(&lab, 9_001)]);
    agent
        .ctl(&["backends", "add", "web", &app(&lab, 9_002)])
        .ok();
    agent
        .ctl(&["backends", "drain", "web", &app(&lab, 9_002)])
        .ok();
    agent
        .ctl(&["ports", "set", "web", "max_connections=7"])
        .ok();
    agent
        .ctl(&["ports", "set", "web", "health=tcp", "health_interval_s=1"])
        .ok();
    agent.ctl(&["config", "set", "policy.drain", "9s"]).ok();
    // Nobody listens there.
    eventually(Duration::from_secs(30), || {
        let events = agent.items(&["events"]);
        events
            .iter()
            .any(|event| event["kind"] == "backend_failing")
    });
    let events = agent.items(&["events"]);
    let find = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap();
    assert_eq!(find("backend_added")["address"], json!(app(&lab, 9_001)));
    assert_eq!(find("backend_draining")["address"], json!(app(&lab, 9_002)));
    assert_eq!(
        find("port_changed")["text"],
        "changed: max_connections none -> 7"
    );
    let changed = &find("port_changed")["changes"];
    assert_eq!(changed, &json!([{"key": "max_connections", "new": "7"}]));
    assert_eq!(find("config_changed")["key"], "policy.drain");
    let changed = &find("config_changed")["changes"];
    let policy = json!([{"key": "policy.drain", "old": "30s", "new": "9s"}]);
    assert_eq!(changed, &policy);
    let table = agent.ctl(&["events"]).ok().stdout;
    assert!(table.starts_with("ID"), "{table}");
    let since = find("backend_draining")["id"].to_string();
    let later = agent.items(&["events", "--since", &since]);
    assert_eq!(later[0]["kind"], "port_changed");
}

fn app(lab: &Lab, port: u16) -> String {
    SocketAddr::new(lab.app(V4, 0), port).to_string()
}

#[test]
fn the_command_line_follows_over_a_restart() {
    let lab = Lab::routed();
    let mut agent = Agent::start(&lab);
    let mut command = lab.node.command(binary("harbor-ctl"));
    command
        .arg("--socket")
        .arg(agent.socket())
        .args(["events", "-f", "-o", "json"]);
    let follower = Process::start(&mut command, lab.folder(), "follower");
    let has = |text: &str| follower.printed().contains(text);
    agent.create(&["first"]);
    eventually(PATIENCE, || has("\"first\""));
    agent.stop();
    agent.restart();
    agent.create(&["second"]);
    eventually(PATIENCE, || has("\"second\""));
    assert!(has("waiting"), "{}", follower.printed());
    let printed = follower.printed();
    let lines = printed.lines().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        ids(&events).windows(2).all(|two| two[0] < two[1]),
        "{printed}"
    );
    let kinds: Vec<&Value> = events.iter().map(|event| &event["kind"]).collect();
    assert_eq!(
        kinds,
        [
            "agent_started",
            "port_allocated",
            "agent_stopped",
            "agent_started",
            "port_allocated"
        ],
        "{printed}"
    );
}

#[test]
fn events_outlive_the_agent_however_it_ends() {
    let lab = Lab::routed();
    let mut agent = Agent::start(&lab);
    agent.create(&["first"]);
    let mut before = agent.items(&["events"]);
    for is_killed in [true, false, true] {
        match is_killed {
            true => agent.kill(),
            false => assert_eq!(agent.stop(), 0),
        }
        agent.restart();
        let after = agent.items(&["events"]);
        assert_eq!(after[..before.len()], before);
        let fresh = &after[before.len()..];
        let last = fresh.last().unwrap();
        assert_eq!(last["kind"], "agent_started");
        let said = last["text"].as_str().unwrap();
        assert_eq!(said.contains("without a word"), is_killed, "{said}");
        assert_eq!(fresh.len(), if is_killed { 1 } else { 2 });
        // Whoever read the last one before goes on with what follows it, without a gap.
        let since = before.last().unwrap()["id"].to_string();
        assert_eq!(agent.items(&["events", "--since", &since]), fresh);
        before = after;
    }
}

#[test]
fn an_event_says_when_by_whom_and_what_it_was_before() {
    let lab = Lab::routed();
    let agent = Agent::start(&lab);
    let port = agent.create(&["web", "--backend", &app(&lab, 9_001)]);
    agent.create(&["other"]);
    agent.ctl(&["ports", "set", "web", "drain_s=9"]).ok();
    agent.ctl(&["flows", "kill", "--port", "web", "--yes"]).ok();
    agent.ctl(&["state", "backup"]).ok();
    assert_eq!(agent.ctl(&["ports", "create", "web"]).code, 5);
    let find = |arguments: &[&str]| agent.items(&[&["events"], arguments].concat());
    for event in find(&[]) {
        let (time, at) = (event["time"].as_str().unwrap(), event["at"].as_i64());
        let mut date = std::process::Command::new("date");
        let date = kit::finish(date.args(["+%s", "-d", time])).ok().stdout;
        assert_eq!(date.trim().parse().ok(), at, "{event}");
    }
    let audit = find(&["--audit"]);
    let kinds: Vec<&Value> = audit.iter().map(|event| &event["kind"]).collect();
    assert_eq!(
        kinds,
        [
            "port_allocated",
            "backend_added",
            "port_allocated",
            "port_changed",
            "flows_ended",
            "request_done",
            "request_refused"
        ]
    );
    for event in &audit {
        let actor = &event["actor"];
        assert_eq!(actor["uid"], 0, "{event}");
        assert_eq!(actor["process"], "harbor-ctl", "{event}");
        assert!(actor["pid"].as_u64() > Some(1), "{event}");
    }
    let text = |event: &Value| event["text"].as_str().unwrap().to_owned();
    assert_eq!(text(&audit[3]), "changed: drain_s 30 -> 9");
    assert_eq!(text(&audit[4]), "0 flows ended: port web");
    assert_eq!(text(&audit[5]), "POST /v1/state/backup: 200");
    let refused = "POST /v1/ports: 409: a port named web exists";
    assert!(text(&audit[6]).starts_with(refused), "{}", audit[6]);
    // Everything can be asked for by itself, and together.
    assert_eq!(
        find(&["--port", "web"]),
        [0, 1, 3, 4].map(|n| audit[n].clone())
    );
    assert_eq!(find(&["--port", &port.to_string()]).len(), 3);
    assert_eq!(find(&["--kind", "port_changed,flows_ended"]), audit[3..5]);
    assert_eq!(find(&["-n", "2"]), audit[5..]);
    let of_both = ["--kind", "port_allocated", "-n", "1", "--since", "1h"];
    assert_eq!(find(&of_both), audit[2..3]);
    let since = audit[5]["id"].to_string();
    assert_eq!(find(&["--since", &since, "-n", "9"]), audit[6..]);
    // From a moment on, as events themselves write it.
    let moment = audit[5]["time"].as_str().unwrap();
    assert!(find(&["--since", moment]).contains(&audit[5]), "{moment}");
    assert_eq!(find(&["--since", "2100-01-01T00:00:00Z"]), [Value::Null; 0]);
}

#[test]
fn what_no_event_can_be_about_is_refused() {
    let lab = Lab::routed();
    let agent = Agent::start(&lab);
    for wrong in [
        ["--since", "soon"],
        ["--since", "2026-02-30T00:00:00Z"],
        ["--kind", "soon"],
        ["--port", "a/b"],
        ["--port", "99999"],
        ["--port", "0"],
    ] {
        let refused = agent.ctl(&[&["events"][..], &wrong].concat());
        assert_eq!(refused.code, 2, "{}", refused.stderr);
    }
    // By the API too.
    let asked = Http::new(&agent.socket()).ask("GET /v1/events?follow=false&port=99999", "", b"");
    assert_eq!(asked.unwrap().0, 400);
}

#[test]
fn a_registry_that_goes_and_comes_and_who_shares_it_is_told() {
    let lab = Lab::routed();
    let mut redis = redis_of(&lab);
    let lease = "[discovery]\nlease = \"3s\"\n";
    let config = Config::with(&format!("{}{lease}", redis.config("one")));
    let agent = Agent::start_with(&lab, &config);
    let has = |kind: &str, key: &str, value: &str| {
        let events = agent.items(&["events"]);
        events
            .iter()
            .any(|event| event["kind"] == kind && (key.is_empty() || event[key] == value))
    };
    agent.create(&["web"]);
    let said = json!({
        "v": 1, "dea": "dea-1", "epoch": 1, "seq": 1, "service": "web", "instance": "i-1",
        "ip": lab.app(V4, 0).to_string(), "port": 9_001, "state": "up"
    });
    let mut http = Http::new(&agent.socket());
    let heard = http
        .post("/v1/announce", said.to_string().as_bytes())
        .unwrap();
    assert_eq!(heard.0, 200, "{}", String::from_utf8_lossy(&heard.1));
    assert!(has("backend_added", "dea", "dea-1"));
    // It falls silent.
    eventually(PATIENCE, || has("lease_ended", "dea", "dea-1"));
    assert!(has("backend_removed", "instance", "i-1"));
    let _two = other(&lab, &redis.config("two"), "two");
    eventually(PATIENCE, || has("node_joined", "node", "two"));
    redis.kill();
    eventually(PATIENCE, || has("registry_away", "", ""));
    assert!(!has("registry_back", "", ""));
    redis.restart();
    eventually(PATIENCE, || has("registry_back", "", ""));
}
