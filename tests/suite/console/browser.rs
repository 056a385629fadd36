//! What people do, in a real browser with a mouse.

use std::time::Duration;

use kit::{Browser, Lab, eventually, traffic};
use serde_json::Value;

use super::{ADMIN, LISTEN, client::wait_for, scene};
use crate::scene::Scene;

pub(super) fn address(path: &str) -> String {
    format!("http://{LISTEN}{path}")
}

/// A browser at the console, signed in by its form.
pub(super) fn signed_in(scene: &Scene) -> Browser {
    at_console(&scene.lab)
}

/// The same, where the scene is another one.
pub(super) fn at_console(lab: &Lab) -> Browser {
    let mut browser = at_the_door(lab);
    sign_in(&mut browser, ADMIN);
    browser
}

/// One that is not signed in.
pub(super) fn at_the_door(lab: &Lab) -> Browser {
    wait_for(&lab.node);
    let mut browser = Browser::start(&lab.node, lab.folder());
    browser.open(&address("/"));
    browser.until("location.pathname === '/sign-in'");
    browser
}

/// Fills in the form of the page that is shown.
pub(super) fn sign_in(browser: &mut Browser, (name, password): (&str, &str)) {
    browser.fill("[name=name]", name);
    browser.fill("[name=password]", password);
    browser.follow("main button");
    browser.until("location.pathname === '/'");
}

/// Nothing went wrong on any page, and nobody else was asked.
#[track_caller]
pub(super) fn has_no_complaint(browser: &mut Browser) {
    complains_of(browser, &[]);
}

/// As above, but for what the test has made wrong on purpose: an answer with such a status, which the
/// browser calls an error, from each of these paths, in this order.
#[track_caller]
pub(super) fn complains_of(browser: &mut Browser, wrong: &[(&str, u16)]) {
    let complaints = browser.complaints(&address("/"));
    let is_it = |text: &String, (path, status): &(&str, u16)| {
        let told: Value = serde_json::from_str(text).unwrap();
        let entry = &told["params"]["entry"];
        let is_status = |text: &str| text.contains(&format!("status of {status} "));
        entry["url"] == address(path) && entry["text"].as_str().is_some_and(is_status)
    };
    let are_they = complaints.len() == wrong.len()
        && complaints
            .iter()
            .zip(wrong)
            .all(|(text, one)| is_it(text, one));
    assert!(are_they, "{wrong:?} was expected: {complaints:#?}");
}

#[test]
fn a_new_port_s_traffic_moves_the_chart_and_a_backend_is_drained() {
    let scene = scene("");
    let mut browser = signed_in(&scene);
    browser.open(&address("/ports/create"));
    browser.fill("[name=name]", "web");
    browser.follow("main button[type=submit]");
    let ports = scene.agent.items(&["ports", "list"]);
    assert_eq!(ports[0]["name"], "web", "{ports:?}");

    let apps = [scene.app(0), scene.app(1)].map(|app| app.to_string());
    for app in &apps {
        scene.agent.ctl(&["backends", "add", "web", app]).ok();
    }
    browser.until(&format!("document.body.innerText.includes('{}')", apps[0]));
    browser.until("document.querySelector('.chart canvas') !== null");
    let drawn = "document.querySelector('.chart canvas').toDataURL()";
    let before = browser.value(drawn);
    let port = ports[0]["port"].as_u64().unwrap() as u16;
    let live = traffic::Live::open(&scene.lab.client, scene.at(port), 5);
    browser.until("/^Now: [1-9]/.test(document.getElementById('carried').innerText)");
    eventually(Duration::from_secs(30), || browser.value(drawn) != before);
    browser.until("document.body.innerText.includes('10.77.1.2:')");
    assert_eq!(live.finish().errors, Vec::<String>::new());

    browser.click(&format!(
        "[aria-label^='Drain {}']",
        instance(&scene, &apps[1])
    ));
    eventually(Duration::from_secs(10), || {
        let backends = scene.agent.items(&["backends", "list"]);
        let mut states = backends.iter().map(|backend| &backend["state"]);
        states.any(|state| state == "leaving" || state == "draining") || backends.len() == 1
    });
    let note = "document.querySelector('.note').innerText";
    browser.until(&format!(
        "{note} === 'The backend takes no new flows any more.'"
    ));
    has_no_complaint(&mut browser);
}

/// What the instance at an address is called.
fn instance(scene: &Scene, address: &str) -> String {
    let backends = scene.agent.items(&["backends", "list"]);
    let found = backends
        .iter()
        .find(|backend| backend["address"] == address);
    found.unwrap()["instance"].as_str().unwrap().to_owned()
}

#[test]
fn a_range_is_changed_under_traffic_an_event_is_followed_and_the_session_ends() {
    let scene = scene("");
    let to = scene.port("web");
    let live = traffic::Live::open(&scene.lab.client, to, 5);
    let mut browser = signed_in(&scene);
    browser.open(&address("/settings"));
    let (field, change) = ("[id='ports.range']", "[aria-label='Change ports.range']");
    browser.fill(field, "soon");
    browser.follow(change);
    let invalid = "document.getElementById('ports.range').getAttribute('aria-invalid')";
    assert_eq!(browser.value(invalid), "true");
    let hint = browser.value("document.getElementById('ports.range-hint').innerText");
    assert!(hint.as_str().unwrap().contains("range"), "{hint}");
    browser.fill(field, "36000-36100");
    browser.follow(change);
    let note = "document.querySelector('.note')?.innerText ?? ''";
    assert_eq!(browser.value(note), "The change is in force.");
    // It is said once.
    browser.value("window.isLeft = true; location.reload()");
    browser.until("!window.isLeft && document.readyState === 'complete'");
    assert_eq!(browser.value(note), "");
    let created = scene.agent.create(&["late"]);
    assert!((36_000..=36_100).contains(&created), "{created}");
    live.progress();
    assert_eq!(live.finish().errors, Vec::<String>::new());

    browser.open(&address("/events"));
    let port = scene.agent.create(&["seen-live"]);
    browser.until(&format!(
        "document.body.innerText.includes('port {port}/tcp')"
    ));

    browser.follow(".who button");
    assert_eq!(browser.value("location.pathname"), "/sign-in");
    browser.open(&address("/ports"));
    assert_eq!(browser.value("location.pathname"), "/sign-in");
    complains_of(&mut browser, &[("/settings", 422)]);
}
