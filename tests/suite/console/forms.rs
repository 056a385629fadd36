//! Every form of every page with a wrong value in each of its fields: the refusal stands at the field,
//! and what else was typed stays.

use std::panic::{AssertUnwindSafe, catch_unwind};

use kit::{Lab, http::Http};

use super::{
    ADMIN,
    client::{Client, wait_for},
    html::{SeenField, SeenForm, alert, forms, note},
    scene, scene_on,
};
use crate::{gateway::gateway, scene::Scene};

const WRONG: &str = "wrong!";

/// What certificates are called can be any text: none is wrong.
const FREE: [&str; 3] = [
    "control.admin_subjects",
    "control.read_subjects",
    "control.announce_subjects",
];

/// Where a refusal has to stand.
enum Place {
    /// At this field.
    Field(String),
    /// At the button, where what is wrong is nothing that anybody has typed.
    Button,
    /// Above everything: what the form is about is not on the page.
    Above,
}

/// What else is typed, as far as it must be something of its kind.
fn right(name: &str) -> Option<&'static str> {
    Some(match name {
        "name" => "web-2",
        "protocol" => "both",
        "port" => "35123",
        "backends" => "10.77.2.11:9001, 10.77.2.12:9001",
        "for" => "2h",
        "policy" | "udp_policy" => "least-flows",
        "allowed_cidrs" | "denied_cidrs" => "10.0.0.0/8",
        "client_ip" => "proxy-v2",
        "tls" => "off",
        "health" => "http:/up",
        "health_status" => "200-299",
        "drain_s" => "7",
        "src" => "10.77.1.2:40000",
        "dst" => "10.77.1.1:35000",
        "proto" => "udp",
        _ if name.starts_with("was.") => return None,
        _ if name.ends_with("_s")
            || name.starts_with("max_")
            || name.starts_with("health_")
            || name.ends_with("_per_second")
            || name.ends_with("_bytes") =>
        {
            "9"
        }
        _ => return None,
    })
}

/// A wrong value for a field, and where it has to be refused.
fn wrong(form: &SeenForm, field: &SeenField) -> (String, Place) {
    let at = |name: &str| Place::Field(name.to_owned());
    let path = form.action.rsplit('/').next().unwrap();
    match (path, &*field.name) {
        ("drain" | "nodes", "draining") => (WRONG.to_owned(), Place::Button),
        ("nodes", "id") | ("backends", "backend") | ("settings", "key") => {
            (WRONG.to_owned(), Place::Above)
        }
        ("settings", "was") => (WRONG.to_owned(), at(form.key()[0])),
        ("set", name) if name.starts_with("was.") => {
            (WRONG.to_owned(), at(name.strip_prefix("was.").unwrap()))
        }
        // What takes nearly any text takes no line that ends.
        ("settings", name) => (format!("{WRONG}\u{1}[\" ,"), at(name)),
        (_, name) => (WRONG.to_owned(), at(name)),
    }
}

/// Sends a form as it would be with one wrong value.
#[track_caller]
fn try_wrong(ann: &Client, form: &SeenForm, field: &SeenField) {
    let (value, place) = wrong(form, field);
    let what = format!("{} {:?} {}={value:?}", form.action, form.key(), field.name);
    let mut sent = form.sent();
    for (name, own) in &mut sent {
        match right(name) {
            _ if *name == field.name => value.clone_into(own),
            Some(right) => right.clone_into(own),
            None => {}
        }
    }
    sent.retain(|(name, _)| name != "csrf");
    let pairs: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (&**n, &**v)).collect();
    let answer = match &*form.method {
        "post" => ann.post(&form.action, &pairs),
        _ => ann.get(&format!("{}?{}", form.action, super::client::form(&pairs))),
    };
    let is_lost = matches!(place, Place::Above);
    let right = if is_lost { &[404, 422][..] } else { &[422] };
    assert!(right.contains(&answer.status), "{what}: {}", answer.status);
    let page = answer.body;
    let why = alert(&page);
    assert!(!why.is_empty(), "{what}: nothing is said: {page}");
    let shown = forms(&page);
    let own = shown.iter().find(|other| {
        other.action == form.action && (other.key() == form.key() || form.action == "/ports/create")
    });
    let Some(own) = own else {
        panic!("{what}: the form is gone: {page}");
    };
    match place {
        Place::Above => return,
        Place::Button => assert!(own.told.contains(&why), "{what}: {:?}", own.told),
        Place::Field(name) => {
            let at = own.field(&name).unwrap();
            assert!(at.is_invalid, "{what} is not marked at {name}: {why}");
            assert!(at.told.contains(&why), "{what}: {:?}, not {why}", at.told);
            let others = own.fields.iter().filter(|other| other.name != name);
            let others: Vec<_> = others.filter(|other| other.is_invalid).collect();
            assert!(others.is_empty(), "{what} is marked at {others:?}");
        }
    }
    for field in own.fields.iter().filter(|field| field.kind != "hidden") {
        let (_, typed) = sent.iter().find(|(name, _)| *name == field.name).unwrap();
        // What nobody has typed stands there as it is.
        let was = sent
            .iter()
            .find(|(name, _)| *name == format!("was.{}", field.name));
        if was.is_none_or(|(_, was)| was != typed) {
            assert_eq!(&field.value, typed, "{what}: {} is lost", field.name);
        }
    }
}

/// A form's every field with a wrong value, one after the other.
fn walk(ann: &Client, page: &str) -> usize {
    let (mut count, mut wrong) = (0, 0);
    let shown = ann.get(page);
    assert_eq!(shown.status, 200, "{page}: {}", shown.body);
    for form in forms(&shown.body) {
        // What is searched for can be anything, and choices of lists are refused on a page of their own.
        let is_search = form.method == "get" && form.action != "/explain";
        if is_search || form.action == "/sign-out" {
            continue;
        }
        let has_wrong = |field: &&SeenField| field.name != "csrf" && !FREE.contains(&&*field.name);
        let fields = form.fields.iter().filter(has_wrong);
        for field in fields {
            let tried = catch_unwind(AssertUnwindSafe(|| try_wrong(ann, &form, field)));
            wrong += usize::from(tried.is_err());
            count += 1;
        }
    }
    assert_eq!(wrong, 0, "of {count} fields of {page}, each told above");
    count
}

#[test]
fn a_refusal_stands_at_its_field_in_every_form_and_nothing_typed_is_lost() {
    // What is off takes any value for what it would do if it was on.
    let scene =
        scene_on(|lab: &Lab| format!("[metrics]\nlisten = \"127.0.0.1:9442\"\n{}", gateway(lab)));
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let (ports, config) = (state(&scene), scene.agent.ctl_json(&["config", "show"]));
    let own = format!("/ports/{port}");
    // All that is typed: 27 fields of a new port, twice 22 of a port, its drain, delete and backends.
    for (page, least) in [
        ("/ports/create", 27),
        (&own, 44 + 1 + 1 + 2 + 3),
        ("/nodes", 2),
        ("/explain", 3),
        ("/settings", 3 * 60),
    ] {
        let count = walk(&ann, page);
        assert!(count >= least, "{page} has {count} fields");
    }
    // Pages of lists have no other forms than these.
    for page in ["/", "/ports", "/backends", "/events", "/certificates"] {
        assert_eq!(walk(&ann, page), 0, "{page}");
    }
    assert_eq!(state(&scene), ports);
    assert_eq!(scene.agent.ctl_json(&["config", "show"]), config);
}

/// Ports and backends, without what is counted.
fn state(scene: &Scene) -> Vec<String> {
    let ports = scene.agent.items(&["ports", "list"]);
    let backends = scene.agent.items(&["backends", "list"]);
    let told = ports.iter().map(|port| {
        let shown = scene
            .agent
            .ctl_json(&["ports", "show", port["id"].as_str().unwrap()]);
        format!("{} {} {}", port["id"], port["state"], shown["settings"])
    });
    let of = backends.iter();
    told.chain(of.map(|backend| format!("{} {}", backend["address"], backend["state"])))
        .collect()
}

#[test]
fn what_somebody_else_has_changed_is_shown_where_nothing_was_typed() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port().to_string();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let page = ann.get(&format!("/ports/{port}")).body;
    let is_set = |form: &&SeenForm| form.action.ends_with("/set");
    let form = forms(&page).iter().find(is_set).unwrap().clone();
    scene
        .agent
        .ctl(&["ports", "set", &port, "drain_s=5", "affinity_s=50"])
        .ok();
    let mut sent = form.sent();
    for (name, value) in &mut sent {
        if name == "drain_s" {
            "6".clone_into(value);
        }
    }
    let pairs: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (&**n, &**v)).collect();
    let late = ann.post(&form.action, &pairs[1..]);
    assert_eq!(late.status, 422, "{}", late.body);
    let form = forms(&late.body).iter().find(is_set).unwrap().clone();
    let value = |name: &str| form.field(name).unwrap().value.clone();
    assert_eq!((&*value("drain_s"), &*value("was.drain_s")), ("6", "5"));
    assert_eq!(value("affinity_s"), "50");
    // Whoever has seen it and sends it again means it.
    let sent = form.sent();
    let pairs: Vec<(&str, &str)> = sent.iter().map(|(n, v)| (&**n, &**v)).collect();
    assert_eq!(ann.post(&form.action, &pairs[1..]).status, 303);
    let shown = scene.agent.ctl_json(&["ports", "show", &port]);
    let settings = &shown["settings"];
    assert_eq!(
        (&settings["drain_s"], &settings["affinity_s"]),
        (&6.into(), &50.into())
    );
}

#[test]
fn what_was_done_is_said_and_an_address_alone_says_nothing() {
    let scene = scene("");
    wait_for(&scene.lab.node);
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    let follow = |answer: super::client::Answer| {
        assert_eq!(answer.status, 303, "{}", answer.body);
        note(&ann.get(answer.header("location").unwrap()).body)
    };
    let created = ann.post("/ports/create", &[("name", "web")]);
    assert_eq!(follow(created), "The port is created.");
    let port = scene.agent.items(&["ports", "list"])[0].clone();
    let id = port["id"].as_str().unwrap();
    // While the port is there nobody is told that it is not.
    assert_eq!(note(&ann.get(&format!("/ports?deleted={id}")).body), "");
    let path = |verb: &str| format!("/ports/{id}/{verb}");
    for (sent, told) in [
        ("on", "The port takes no new flows any more."),
        ("off", "The port takes new flows again."),
    ] {
        assert_eq!(
            follow(ann.post(&path("drain"), &[("draining", sent)])),
            told
        );
    }
    let deleted = ann.post(&path("delete"), &[("confirm", "web")]);
    let number = port["port"].to_string();
    assert_eq!(follow(deleted), format!("Port {number}, web, is deleted."));
    assert_eq!(note(&ann.get("/ports?deleted=x").body), "");
}

/// The refusals that no form can show have a field too, for whoever asks the API.
#[test]
fn a_refusal_of_the_api_names_the_field_that_it_is_about() {
    let scene = scene("");
    let mut socket = Http::new(&scene.agent.socket());
    for (path, body, field) in [
        ("/v1/ports", r#"{"name": "a b"}"#, "name"),
        ("/v1/ports", r#"{"name": "a", "port": 1}"#, "port"),
        (
            "/v1/ports",
            r#"{"name": "a", "backends": ["1.2.3"]}"#,
            "address",
        ),
        ("/v1/ports", r#"{"name": "a", "for": "soon"}"#, "for"),
        (
            "/v1/ports",
            r#"{"name": "a", "settings": {"tls": "x"}}"#,
            "tls",
        ),
    ] {
        let (status, answer) = socket.post(path, body.as_bytes()).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert!((400..500).contains(&status), "{body}: {answer}");
        assert_eq!(answer["field"], field, "{body}: {answer}");
    }
}
