//! Pages in every mode: with the proxy alone, while the registry is away, and over TLS.

use std::time::Duration;

use kit::{certify, eventually, finish};

use super::{
    ADMIN, LISTEN,
    attacks::PAGES,
    client::{Client, form, wait_for},
    scene, scene_on,
    stored::is_inert,
};
use crate::{registry::redis_of, scene::Scene};

/// Every page, and one port's.
fn all_answer(scene: &Scene, ann: &Client, port: u16) {
    let own = format!("/ports/{port}");
    for page in PAGES.into_iter().chain([&*own]) {
        let answer = ann.get(page);
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        is_inert(&answer.body, page);
    }
    assert!(
        ann.get(&own).body.contains("web"),
        "{}",
        scene.lab.node.name()
    );
}

#[test]
fn every_page_answers_where_the_proxy_forwards_alone() {
    let scene = scene("[datapath]\nmode = \"proxy\"\n");
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    all_answer(&scene, &ann, port);
}

#[test]
fn every_page_answers_while_redis_is_away_and_says_so() {
    let mut redis = None;
    let scene = scene_on(|lab| {
        let redis = redis.insert(redis_of(lab));
        format!("[registry]\nurl = {:?}\n", redis.url())
    });
    wait_for(&scene.lab.node);
    let port = scene.port("web").port();
    let ann = Client::signed_in(&scene.lab.node, ADMIN);
    all_answer(&scene, &ann, port);
    redis.as_mut().unwrap().kill();
    eventually(Duration::from_secs(20), || {
        let page = ann.get("/").body;
        let registry = page.split("Registry").nth(1).unwrap_or_default();
        registry.split("</tr>").next().unwrap().contains("degraded")
    });
    all_answer(&scene, &ann, port);
    // What cannot be recorded is refused, and the reason stands on the page.
    let refused = ann.post("/ports/create", &[("name", "late")]);
    assert!(refused.status >= 400, "{}", refused.status);
    assert!(refused.body.contains("role=\"alert\""), "{}", refused.body);
    assert_eq!(scene.agent.items(&["ports", "list"]).len(), 1);
}

#[test]
fn over_tls_a_session_is_for_tls_alone() {
    let scene = scene_on(|lab| {
        let certificate = certify(lab.folder(), "console", "IP:127.0.0.1");
        let key = lab.folder().join("console.key");
        format!("tls_cert = {certificate:?}\ntls_key = {key:?}\n")
    });
    let node = &scene.lab.node;
    wait_for(node);
    let curl = |more: &[&str]| {
        let mut curl = node.command("curl");
        curl.args(["-sS", "-m", "20", "-i", "--cacert"])
            .arg(scene.lab.folder().join("console.crt"));
        finish(curl.args(more))
    };
    let fields = form(&[("name", ADMIN.0), ("password", ADMIN.1)]);
    let signed = curl(&["-d", &fields, &format!("https://{LISTEN}/sign-in")])
        .ok()
        .stdout;
    let cookie = signed
        .lines()
        .find(|line| line.to_lowercase().starts_with("set-cookie:"))
        .unwrap_or_else(|| panic!("{signed}"));
    assert!(cookie.contains("; Secure"), "{cookie}");
    let plain = curl(&[&format!("http://{LISTEN}/")]);
    assert!(!plain.stdout.contains(" 200 "), "{}", plain.stdout);
}
