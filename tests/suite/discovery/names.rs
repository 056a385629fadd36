//! Names that are not unique: whoever chooses them, nobody loses a port to them.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use kit::{
    V4,
    app_host::{self, Instance},
    eventually,
    traffic::{self, Live},
};
use serde_json::{Value, json};

use super::{Ground, Registry, SOON, load::Load};
use crate::gateway::{Platform, gateway, order};

/// The victim's instance id, as a platform chooses it.
const VICTIM: &str = "0b6c0d2e-victim";

/// The public address of a provisioned port.
fn reached(ground: &Ground, id: &str) -> SocketAddr {
    let shown = ground.agent.ctl_json(&["ports", "show", id]);
    let port = u16::try_from(shown["port"].as_u64().unwrap()).unwrap();
    SocketAddr::new(ground.lab.public(V4), port)
}

/// How much app hosts have said so far.
fn said(ground: &Ground) -> u64 {
    let hosts = ground.agent.items(&["dea", "list"]);
    hosts.iter().map(|host| host["seq"].as_u64().unwrap()).sum()
}

fn refusals(ground: &Ground) -> Vec<Value> {
    let events = ground.agent.items(&["events"]);
    let is_refusal = |event: &Value| event["kind"] == "announcement_refused";
    events.into_iter().filter(is_refusal).collect()
}

#[test]
fn another_tenant_s_names_take_no_port_away_and_its_own_port_works() {
    // Announcers over Redis are not told how long a lease is.
    for (registry, lease) in [(Registry::Embedded, "5s"), (Registry::Redis, "17s")] {
        let ground = Ground::with_lines(registry, lease, gateway);
        let mut platform = Platform::of(&ground.lab);
        let url = ground.redis.as_ref().map(|redis| redis.url());
        let over: Vec<&str> = url.iter().flat_map(|url| ["--to", url.as_str()]).collect();
        assert_eq!(platform.provision(VICTIM, &order("db", &json!({}))).0, 201);
        let to = reached(&ground, VICTIM);
        // By its name, as it was before it had to share that.
        let one = Instance::start(&ground.lab, 0, ("db", "one"), 4_100, &over);
        ground.wait_for(VICTIM, &["one"]);
        let (load, live) = (
            Load::on(&ground.lab, to),
            Live::open(&ground.lab.client, to, 3),
        );

        // Its name, its id, and its number.
        for (id, name) in [("same-name", "db"), ("same-id", VICTIM)] {
            assert_eq!(platform.provision(id, &order(name, &json!({}))).0, 201);
        }
        let number = to.port().to_string();
        let (status, body) = platform.provision("same-number", &order(&number, &json!({})));
        assert_eq!(status, 400, "{body}");
        assert_eq!(ground.agent.ctl(&["ports", "create", &number]).code, 2);
        assert_eq!(platform.provision(&number, &order("x", &json!({}))).0, 400);

        // Over more than a lease, and with one more instance that is called by the name.
        let late = Instance::start(&ground.lab, 0, ("db", "late"), 4_103, &over);
        let begun = said(&ground);
        eventually(Duration::from_secs(60), || said(&ground) >= begun + 9);
        ground.wait_for(VICTIM, &["one"]);
        live.progress();
        assert_eq!(live.finish().errors, Vec::<String>::new());
        let (count, errors) = load.finish();
        assert_eq!(errors, Vec::<String>::new(), "{registry:?}, of {count}");
        println!("{registry:?}: {count} connections beside three tenants that took the names");

        told_once(&ground, url.is_none().then_some(&late));
        drop(late);

        served_by_ids(&ground, (&mut platform, to), &over);
        drop(one);
    }
}

/// What is refused is told once, to everybody whom it concerns; an announcer by HTTP is answered.
fn told_once(ground: &Ground, answered: Option<&Instance>) {
    let told: Vec<String> = refusals(ground)
        .iter()
        .map(|e| e["dea"].to_string())
        .collect();
    assert_eq!(
        told.iter().filter(|dea| *dea == "\"late\"").count(),
        1,
        "{told:?}"
    );
    assert_eq!(
        told.iter().collect::<BTreeSet<_>>().len(),
        told.len(),
        "{told:?}"
    );
    let status = ground.agent.ctl(&["status"]);
    assert_eq!(status.code, 7, "{}", status.stdout);
    assert!(
        status
            .stdout
            .contains("db late is refused: db names 2 ports")
            || status
                .stdout
                .contains("db one is refused: db names 2 ports"),
        "{}",
        status.stdout
    );
    if let Some(late) = answered {
        let printed = late.announcer.printed();
        assert!(
            printed.contains("db is not announced: db names 2 ports"),
            "{printed}"
        );
    }
}

/// By the ids that the credentials tell, everybody is served.
fn served_by_ids(ground: &Ground, (platform, to): (&mut Platform, SocketAddr), over: &[&str]) {
    let mut hosts = Vec::new();
    for (id, name, port) in [(VICTIM, "two", 4_101), ("same-name", "three", 4_102)] {
        let told = platform.bind(id, "binding", "app").1;
        let id = told["credentials"]["id"].as_str().unwrap().to_owned();
        hosts.push(Instance::start(&ground.lab, 1, (&id, name), port, over));
    }
    ground.wait_for(VICTIM, &["one", "two"]);
    ground.wait_for("same-name", &["three"]);
    let tally = traffic::connect(&ground.lab.client, to, 10);
    assert_eq!((tally.of("one"), tally.of("two")), (5, 5), "{tally:?}");
    let own = reached(ground, "same-name");
    let tally = traffic::connect(&ground.lab.client, own, 10);
    assert_eq!(tally.of("three"), 10, "{tally:?}");
}

fn entry(service: &str, instance: &str, ip: &str) -> Value {
    json!({
        "service": service, "instance": instance, "ip": ip, "port": 4100, "state": "up"
    })
}

#[test]
fn a_refused_entry_withdraws_nothing_in_no_document() {
    let ground = Ground::with_lines(Registry::Embedded, "5s", gateway);
    let mut platform = Platform::of(&ground.lab);
    assert_eq!(platform.provision(VICTIM, &order("db", &json!({}))).0, 201);
    ground.port("web");
    let bearer = "Authorization: Bearer a-token-of-app-hosts";
    let url = format!("http://{}/v1/announce", app_host::CONTROL);
    let mut seq = 0;
    let mut say = |dea: &str, said: Value| -> (u16, Value) {
        seq += 1;
        let mut document = json!({"v": 1, "dea": dea, "epoch": 5, "seq": seq});
        for (key, value) in said.as_object().unwrap() {
            document[key] = value.clone();
        }
        let document = document.to_string();
        let (code, body) = app_host::ask(&ground.lab, &["-H", bearer, "-d", &document, &url]);
        (code, serde_json::from_str(&body).unwrap())
    };
    assert_eq!(say("dea1", entry("db", "a", "10.77.2.11")).0, 200);
    assert_eq!(say("dea2", entry("web", "b", "10.77.2.12")).0, 200);
    assert_eq!(platform.provision("other", &order("db", &json!({}))).0, 201);

    // All that it has, one by one and at once; by a name that is not unique, and at an address that
    // no backend may have.
    for refused in [
        entry("db", "a", "10.77.2.11"),
        entry("db", "a", "127.0.0.1"),
        entry(VICTIM, "a", "127.0.0.1"),
    ] {
        let (code, body) = say("dea1", refused.clone());
        assert!([400, 409].contains(&code), "{code} {body}");
        let (code, heard) = say("dea1", json!({"instances": [refused]}));
        assert_eq!(
            (code, heard["refused"].as_array().map(Vec::len)),
            (200, Some(1)),
            "{heard}"
        );
        ground.wait_for(VICTIM, &["a"]);
    }
    // Whoever says the same thing again and again lives, though it is refused.
    let begun = Instant::now();
    eventually(Duration::from_secs(60), || {
        say("dea1", entry("db", "a", "10.77.2.11"));
        say("dea2", entry("web", "b", "10.77.2.12"));
        begun.elapsed() > 2 * Duration::from_secs(5)
    });
    ground.wait_for(VICTIM, &["a"]);

    // An entry that is refused, and one that withdraws, take no address from others.
    let mut wrong = entry(VICTIM, "z", "10.77.2.12");
    wrong["protocol"] = json!("udp");
    let (_, heard) = say("dea3", json!({"instances": [wrong]}));
    assert_eq!(heard["refused"][0]["error"], "invalid", "{heard}");
    let mut down = entry(VICTIM, "z", "10.77.2.12");
    down["state"] = json!("down");
    assert_eq!(say("dea3", down).0, 200);
    ground.wait_for("web", &["b"]);
    ground.wait_for(VICTIM, &["a"]);

    // What is put right is not told any more.
    assert_eq!(say("dea3", json!({"instances": []})).0, 200);
    assert_eq!(say("dea1", entry(VICTIM, "a", "10.77.2.11")).0, 200);
    eventually(SOON, || {
        !ground.agent.ctl(&["status"]).stdout.contains("is refused")
    });
}
