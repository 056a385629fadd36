//! Every operation of the control API is asked, and answers what its document says.

use std::{net::SocketAddr, time::Duration};

use kit::{Config, Lab, Redis, V4, eventually, http::Http, traffic};
use serde_json::{Value, json};

use super::document::{Question, Reader};
use crate::scene::Scene;

/// Streams, which have tests of their own.
const STREAMS: [&str; 2] = ["/v1/events", "/v1/flows/stream"];

/// These ask for nodes that share a registry, or for a platform: another test does.
pub(super) const ELSEWHERE: [(&str, &str); 5] = [
    ("/v1/bindings/{id}", "get"),
    ("/v1/nodes/detach", "post"),
    ("/v1/nodes/{id}", "delete"),
    ("/v1/nodes/{id}/drain", "post"),
    ("/v1/nodes/{id}/resume", "post"),
];

/// One step of the walk: method and path as the document has it, and the body.
type Step = (&'static str, Value);
/// What is wrong: the status expected, what is asked for it, where, and the body.
type Wrong = (u16, &'static str, &'static str, Value);

/// Asks all, of the port and the node that there are; each must succeed.
#[track_caller]
fn walk(reader: &mut Reader, steps: Vec<Step>) {
    for (line, body) in steps {
        let (method, path) = line.split_once(' ').unwrap();
        let place = path
            .replace("{port}", "both-x")
            .replace("{dea}", "dea-1")
            .replace("{id}", "harbor_node_1")
            .replace("{name}", "pool-x")
            .replace("{engine}", "keepalived");
        let (status, answer) = reader.ask(Question {
            method,
            path,
            place: &place.replace("{key}", "ports.range"),
            body,
        });
        assert!(status < 300, "{line}: {status} {answer}");
    }
}

#[track_caller]
fn refused(reader: &mut Reader, steps: Vec<Wrong>) {
    for (expected, line, place, body) in steps {
        let (method, path) = line.split_once(' ').unwrap();
        let (status, answer) = reader.ask(Question {
            method,
            path,
            place,
            body,
        });
        assert_eq!(status, expected, "{line}: {answer}");
    }
}

#[test]
fn the_control_api_answers_what_its_document_says() {
    let lab = Lab::routed();
    let scene = Scene::on(lab, &Config::default());
    let web = scene.port("web");
    // A flow, so that the list of flows holds one.
    let live = traffic::Live::open(&scene.lab.client, web, 1);
    eventually(Duration::from_secs(10), || {
        !scene.agent.items(&["flows", "list"]).is_empty()
    });
    let mut reader = Reader::new(Http::new(&scene.agent.socket()), "");
    let questions = reader.operations().into_iter();
    let is_stream = |path: &String| STREAMS.contains(&path.as_str());
    let plain = questions
        .filter(|(path, method)| method == "get" && !path.contains('{') && !is_stream(path));
    for (path, method) in plain.collect::<Vec<_>>() {
        let (status, _) = reader.ask(Question {
            method: &method,
            path: &path,
            place: &path,
            body: Value::Null,
        });
        assert_eq!(status, 200, "{path}");
    }
    drop(live);
    let address = scene.lab.app(V4, 0).to_string();
    walk(&mut reader, of_ports(&address));
    walk(&mut reader, of_app_hosts(&address));
    walk(&mut reader, of_pools());
    walk(&mut reader, of_the_rest(&scene));
    refused(&mut reader, wrong());
    // Attaching writes the configuration, so it comes last.
    let redis = SocketAddr::new(scene.lab.app(V4, 1), 6379);
    let _redis = Redis::start(&scene.lab.apps[1], scene.lab.folder(), redis);
    let body = json!({"core": redis.to_string(), "import": true});
    walk(&mut reader, vec![("post /v1/nodes/attach", body)]);
    let known = ELSEWHERE
        .into_iter()
        .chain(STREAMS.map(|stream| (stream, "get")))
        .chain([("/v1/trace", "post")]);
    let known = known.map(|(path, method)| (path.to_owned(), method.to_owned()));
    assert_eq!(reader.unseen(), known.collect());
}

fn of_ports(address: &str) -> Vec<Step> {
    let settings = json!({"health": {"type": "tcp"}, "limits": {"max_connections": 5}});
    let port = json!({"name": "both-x", "settings": settings, "for": "2h"});
    let backend = json!({"port": "both-x", "address": format!("{address}:92"), "weight": 3});
    let named = json!({"port": "both-x", "backend": format!("{address}:92")});
    vec![
        ("post /v1/ports", port),
        ("get /v1/ports/{port}", Value::Null),
        ("patch /v1/ports/{port}", json!({"drain_s": 1, "for": "3h"})),
        ("post /v1/ports/{port}/drain", Value::Null),
        ("post /v1/ports/{port}/resume", Value::Null),
        ("post /v1/backends", backend),
        ("post /v1/backends/check", json!({"port": "both-x"})),
        ("post /v1/backends/drain", named.clone()),
        ("get /v1/services", Value::Null),
        ("post /v1/backends/remove", named),
        ("delete /v1/ports/{port}", Value::Null),
    ]
}

fn of_app_hosts(address: &str) -> Vec<Step> {
    let said = json!({
        "v": 1, "dea": "dea-1", "epoch": 1, "seq": 1, "service": "web", "instance": "i-1",
        "ip": address, "port": 91, "state": "up"
    });
    let alive = json!({"v": 1, "dea": "dea-1", "epoch": 1, "seq": 2, "digest": "0".repeat(64)});
    vec![
        ("post /v1/announce", said),
        ("post /v1/heartbeat", alive),
        ("get /v1/deas", Value::Null),
        ("delete /v1/deas/{dea}", Value::Null),
        ("get /v1/backends", Value::Null),
        ("get /v1/services", Value::Null),
        ("get /v1/state", Value::Null),
    ]
}

fn of_pools() -> Vec<Step> {
    let share = json!({
        "id": "harbor_node_1", "public": ["10.77.1.51"], "translation": ["10.77.2.61"],
        "nodes": ["harbor_node_1"],
    });
    vec![
        ("post /v1/pools", json!({"name": "pool-x"})),
        ("post /v1/pools/{name}/shares", share),
        ("get /v1/pools/{name}", Value::Null),
        ("get /v1/pools/{name}/engine/{engine}", Value::Null),
        ("get /v1/shares/{id}/ready", Value::Null),
        ("post /v1/shares/{id}/move", json!({"to": ""})),
        ("post /v1/pools/{name}/join", json!({})),
        ("post /v1/pools/{name}/leave", json!({"node": "nobody"})),
        ("delete /v1/pools/{name}/shares/{id}", Value::Null),
        ("delete /v1/pools/{name}", Value::Null),
    ]
}

fn of_the_rest(scene: &Scene) -> Vec<Step> {
    let mut import = scene.agent.ctl_json(&["state", "export"]);
    import["services"] = json!([]);
    let packet = json!({"src": "10.77.1.2:9", "dst": "10.77.1.1:35000"});
    vec![
        ("post /v1/explain", packet),
        ("get /v1/datapath/verify", Value::Null),
        ("post /v1/datapath/repair", Value::Null),
        ("post /v1/flows/kill", json!({"port": "web"})),
        ("put /v1/config/{key}", json!({"value": "36000-36100"})),
        ("delete /v1/config/{key}", Value::Null),
        ("get /v1/range", Value::Null),
        ("get /v1/nodes/{id}", Value::Null),
        ("post /v1/state/backup", Value::Null),
        ("post /v1/state/confirm", Value::Null),
        ("post /v1/state/import", import),
    ]
}

fn wrong() -> Vec<Wrong> {
    let (ports, port) = ("post /v1/ports", "get /v1/ports/{port}");
    let (binding, config) = ("get /v1/bindings/{id}", "put /v1/config/{key}");
    let (drain, forget) = ("post /v1/nodes/{id}/drain", "delete /v1/nodes/{id}");
    let long = json!("x".repeat(70_000));
    vec![
        (400, ports, "/v1/ports", json!({"name": ""})),
        (400, ports, "/v1/ports", json!({"name": "x", "colour": 1})),
        (409, ports, "/v1/ports", json!({"name": "web"})),
        (413, ports, "/v1/ports", long),
        (404, port, "/v1/ports/nobody", Value::Null),
        (400, "get /v1/ports", "/v1/ports?limit=0", Value::Null),
        (404, binding, "/v1/bindings/b9", Value::Null),
        (400, config, "/v1/config/no.such", json!({"value": "1"})),
        (409, "post /v1/nodes/detach", "/v1/nodes/detach", json!({})),
        (409, drain, "/v1/nodes/x/drain", Value::Null),
        (409, forget, "/v1/nodes/x", Value::Null),
    ]
}
