//! Nodes that share a registry, on the console of one of them.

use std::time::Duration;

use kit::{Agent, Config, Lab, eventually, http::Http};

use super::{
    ADMIN,
    client::{Answer, Client, wait_for},
    console_lines,
    html::{alert, forms, note},
};
use crate::registry::{other, redis_of};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn a_node_is_drained_and_takes_ports_again() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let lines = format!("{}{}", redis.config("one"), console_lines(&lab));
    let one = Agent::start_with(&lab, &Config::with(&lines));
    let two = other(&lab, &redis.config("two"), "two");
    wait_for(&lab.node);
    let ann = Client::signed_in(&lab.node, ADMIN);
    let shown = |page: &str, id: &str| {
        let found = forms(page).into_iter();
        let mut own = found.filter(|form| form.action == "/nodes");
        let own = own.find(|form| form.field("id").is_some_and(|field| field.value == id));
        own.map(|form| form.field("draining").unwrap().value.clone())
    };
    eventually(SOON, || {
        let page = ann.get("/nodes").body;
        shown(&page, "one").as_deref() == Some("on") && shown(&page, "two").as_deref() == Some("on")
    });
    let say = |draining: &str| -> String {
        let sent: Answer = ann.post("/nodes", &[("id", "two"), ("draining", draining)]);
        assert_eq!(sent.status, 303, "{}", sent.body);
        ann.get(sent.header("location").unwrap()).body
    };
    let state = || {
        let nodes = one.items(&["node", "list"]);
        let two = nodes.iter().find(|node| node["id"] == "two").unwrap();
        two["state"].as_str().unwrap().to_owned()
    };
    let nobody = ann.post("/nodes", &[("id", "nobody"), ("draining", "on")]);
    assert_eq!(nobody.status, 404, "{}", nobody.body);
    assert!(alert(&nobody.body).contains("no node \"nobody\""));
    let asked = Http::new(&one.socket()).ask("GET /v1/nodes/nobody", "", b"");
    let (status, told) = asked.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    assert_eq!((status, &told["field"]), (404, &"id".into()), "{told}");
    two.create(&["before"]);
    let page = say("on");
    assert_eq!(note(&page), "The node takes no new ports any more.");
    assert_eq!(shown(&page, "two").as_deref(), Some("off"), "{page}");
    assert_eq!(shown(&page, "one").as_deref(), Some("on"), "{page}");
    assert_eq!(state(), "drained");
    // It holds where it counts, and the other node is not meant.
    eventually(SOON, || {
        two.ctl(&["ports", "create", "while-drained"]).code == 5
    });
    one.create(&["elsewhere"]);

    let page = say("off");
    assert_eq!(note(&page), "The node takes new ports again.");
    assert_eq!(shown(&page, "two").as_deref(), Some("on"), "{page}");
    assert_eq!(state(), "up");
    eventually(SOON, || two.ctl(&["ports", "create", "after"]).code == 0);
}

#[test]
fn a_port_of_another_node_is_not_said_to_be_up() {
    let lab = Lab::routed();
    let redis = redis_of(&lab);
    let lines = format!("{}{}", redis.config("one"), console_lines(&lab));
    let _one = Agent::start_with(&lab, &Config::with(&lines));
    let two = other(&lab, &redis.config("two"), "two");
    let dead = format!("{}:9", lab.app(kit::V4, 0));
    two.create(&["web", "--port", "35000", "--backend", &dead]);
    wait_for(&lab.node);
    let ann = Client::signed_in(&lab.node, ADMIN);
    let row = |page: &str| -> String {
        let body = ann.get(page).body;
        let row = body.split("<tr>").find(|row| row.contains("35000"));
        row.unwrap_or_default().to_owned()
    };
    eventually(SOON, || !row("/ports").is_empty());
    for page in ["/ports", "/backends"] {
        let row = row(page);
        assert!(row.contains("node two serves it"), "{page}: {row}");
        assert!(
            row.contains(">unknown<") && !row.contains(">up<"),
            "{page}: {row}"
        );
    }
    assert!(row("/ports").contains("? of 1"), "{}", row("/ports"));
    // Nor that nobody uses it.
    let page = ann.get("/ports/35000").body;
    assert!(page.contains("Not known: node two serves it."), "{page}");
    for lie in ["No flow is open", "Now: 0", ">up<"] {
        assert!(!page.contains(lie), "{lie}: {page}");
    }
}
