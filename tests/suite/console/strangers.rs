//! Text that others choose and that takes detours: apps that platforms bind, names in certificates,
//! what Redis says of other nodes, and whoever is turned away at the door.

use std::{collections::BTreeSet, fs, process::Command};

use kit::{eventually, finish, http::Http};
use serde_json::json;

use super::{
    ADMIN,
    attacks::PAGES,
    client::{Client, form, wait_for},
    scene_on,
    stored::{PAYLOADS, is_inert},
};
use crate::{
    gateway::{BASIC, FREE, LISTEN as GATEWAY, SERVICE, VERSION, gateway, order},
    registry::redis_of,
};

/// Where a shared registry has its nodes.
const NODES: &str = "{harbor:harbor}:nodes";
const SOON: std::time::Duration = std::time::Duration::from_secs(20);

/// Text as pages hold it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Every page, and these: nothing on them is more than text; the payloads that some of them show.
#[track_caller]
fn shown<'a>(ann: &Client, more: &[String], payloads: &[&'a str]) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    for page in PAGES.into_iter().chain(more.iter().map(|page| &**page)) {
        let answer = ann.get(page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        is_inert(&answer.body, page);
        let is_shown = |payload: &&&str| answer.body.contains(&escaped(payload));
        found.extend(payloads.iter().filter(is_shown));
    }
    found
}

#[test]
fn what_a_bound_app_is_called_is_text_on_every_page() {
    let scene = scene_on(gateway);
    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    let mut platform = Http::tcp(node, GATEWAY.parse().unwrap());
    let mut own = Vec::new();
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        let mut ask = |path: &str, body: serde_json::Value| {
            let header = format!("{BASIC}{VERSION}");
            let body = body.to_string();
            let line = format!("PUT /v2/service_instances/i-{number}{path}");
            let asked = platform.ask(&line, &header, body.as_bytes());
            asked.unwrap().0
        };
        assert_eq!(ask("", order(&format!("db-{number}"), &json!({}))), 201);
        let bind = json!({
            "service_id": SERVICE, "plan_id": FREE, "bind_resource": {"app_guid": payload}
        });
        assert_eq!(ask("/service_bindings/b", bind), 201, "{payload}");
        own.push(format!("/ports/i-{number}"));
    }
    let events = ["binding_created", "port_allocated"];
    own.extend(events.map(|kind| format!("/events?kind={kind}")));
    let shown = shown(&ann, &own, &PAYLOADS);
    assert_eq!(shown.len(), PAYLOADS.len(), "{shown:?}");
}

#[test]
fn names_in_a_certificate_are_text_on_every_page() {
    let mut folder = None;
    let scene = scene_on(|lab| {
        let folder = folder.insert(lab.folder().join("certificates"));
        fs::create_dir_all(&folder).unwrap();
        format!("[tls]\nfolder = {folder:?}\n")
    });
    let folder = folder.unwrap();
    // In openssl's files a backslash makes any sign plain, and of some letters a sign.
    let plain = |text: &str| {
        let mut plain = String::new();
        for letter in text.chars() {
            if !letter.is_ascii_alphanumeric() {
                plain.push('\\');
            }
            plain.push(letter);
        }
        plain
    };
    let names = (1..).zip(PAYLOADS);
    let names: Vec<String> = names
        .map(|(number, payload)| format!("DNS.{number} = {}\n", plain(payload)))
        .collect();
    let config = format!(
        "[req]\ndistinguished_name = who\nx509_extensions = own\nprompt = no\n[who]\nCN = x\n\
         [own]\nsubjectAltName = @names\n[names]\n{}",
        names.concat()
    );
    fs::write(folder.join("config"), config).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(&folder);
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
    ]);
    openssl.args(["-nodes", "-days", "3", "-config", "config"]);
    openssl.args(["-keyout", "harbor.key", "-out", "harbor.crt"]);
    finish(&mut openssl).ok();
    fs::remove_file(folder.join("config")).unwrap();

    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    let port = scene.agent.create(&["web-https"]);
    eventually(SOON, || {
        ann.get("/certificates").body.contains(" days</td>")
    });
    // Names of hosts are all the same in capitals.
    let lower = PAYLOADS.map(str::to_lowercase);
    let lower: BTreeSet<&str> = lower.iter().map(|payload| &**payload).collect();
    let lower: Vec<&str> = lower.into_iter().collect();
    let shown = shown(&ann, &[format!("/ports/{port}")], &lower);
    assert_eq!(shown.len(), lower.len(), "{shown:?}");
}

#[test]
fn what_a_registry_says_of_other_nodes_is_text_on_every_page() {
    let mut redis = None;
    let scene = scene_on(|lab| {
        let redis = redis.insert(redis_of(lab));
        format!("[registry]\nurl = {:?}\n", redis.url())
    });
    let redis = redis.unwrap();
    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        let version: String = payload.chars().take(32).collect();
        let facts = json!({"version": version}).to_string();
        redis.say(&["HSET", NODES, payload, &facts]).ok();
        redis
            .say(&["HSET", NODES, &format!("stranger-{number}"), &facts])
            .ok();
    }
    let versions = PAYLOADS.map(|payload| payload.chars().take(32).collect::<String>());
    let versions: Vec<&str> = versions.iter().map(|version| &**version).collect();
    let distinct: BTreeSet<&str> = versions.iter().copied().collect();
    eventually(SOON, || ann.get("/nodes").body.contains("stranger-39"));
    assert_eq!(shown(&ann, &[], &versions), distinct);
    // An id that is none is nobody's: what would be asked about it could not be told from a name.
    let page = ann.get("/nodes").body;
    let rows = page.matches("<th class=\"name\" scope=\"row\">").count();
    assert_eq!(rows, 1 + PAYLOADS.len(), "{page}");
}

#[test]
fn whoever_is_turned_away_at_the_door_leaves_text_alone() {
    let scene = scene_on(|_| String::new());
    let node = &scene.lab.node;
    wait_for(node);
    let ann = Client::signed_in(node, ADMIN);
    let mut told = BTreeSet::new();
    for (number, payload) in (2..).zip(PAYLOADS) {
        // Each from another address: of one alone the first is told of.
        let stranger = Client::from_host(node, number);
        let sign_in = stranger.sign_in(payload, "wrong");
        assert_eq!(sign_in.status, 401, "{payload}");
        is_inert(&sign_in.body, "/sign-in");
        let name = format!("value=\"{}\"", escaped(payload));
        assert!(sign_in.body.contains(&name), "{}", sign_in.body);

        let stranger = Client::from_host(node, 100 + number);
        let path: String = payload.replace(' ', "%20");
        for path in [path, form(&[("", payload)])] {
            let line = format!("GET /{path}");
            let refused = stranger.ask(&line, "Host: evil.example\r\n", "");
            assert!(
                [400, 403].contains(&refused.status),
                "{payload}: {}",
                refused.status
            );
            is_inert(&refused.body, "refused");
            if refused.status == 403 {
                told.insert(number);
            }
        }
    }
    assert_eq!(told.len(), PAYLOADS.len(), "each path came to the console");
    shown(&ann, &["/events?kind=request_refused".to_owned()], &[]);
    let events = ann.get("/events?kind=request_refused").body;
    assert!(events.contains("names another server"), "{events}");
    assert!(events.contains("%3Cscript%3Ealert"), "{events}");
    assert!(events.contains("a wrong password"), "{events}");
}
