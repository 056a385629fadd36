//! Who is let in by TCP, and to what.

use std::fs;

use kit::{
    Agent, Config, Lab,
    app_host::{self, Instance},
    certify, eventually,
};

use super::{Ground, SOON};

#[test]
fn tokens_open_what_they_are_for() {
    let ground = Ground::with_lease("17s");
    let url = |path: &str| format!("http://{}{path}", app_host::CONTROL);
    let right = "Authorization: Bearer a-token-of-app-hosts";
    let wrong = "Authorization: Bearer a-token-of-app-hostz";
    let get = |header: &str, path: &str| app_host::ask(&ground.lab, &["-H", header, &url(path)]).0;
    assert_eq!(get("X: y", "/healthz"), 200);
    assert_eq!(get("X: y", "/v1/ports"), 401);
    assert_eq!(get(wrong, "/v1/ports"), 401);
    assert_eq!(get(right, "/v1/ports"), 403);
    let post = |header: &str| {
        app_host::ask(
            &ground.lab,
            &["-H", header, "-d", "{}", &url("/v1/announce")],
        )
        .0
    };
    assert_eq!((post(wrong), post(right)), (401, 400));
    let create = ["-H", right, "-d", r#"{"name":"web"}"#, &url("/v1/ports")];
    assert_eq!(app_host::ask(&ground.lab, &create).0, 403);
    assert_eq!(ground.agent.items(&["ports", "list"]).len(), 0);
    let log = ground.agent.log("node");
    assert!(!log.contains("a-token-of-app"), "a token stands in the log");
}

#[test]
fn the_control_api_by_tls_shows_its_certificate_and_asks_for_one() {
    let lab = Lab::routed();
    certify(lab.folder(), "node", "IP:10.77.2.1");
    certify(lab.folder(), "client", "DNS:client.test");
    let file = |name: &str| lab.folder().join(name).display().to_string();
    let both = fs::read_to_string(file("client.crt")).unwrap()
        + &fs::read_to_string(file("client.key")).unwrap();
    fs::write(file("client.pem"), both).unwrap();
    let lines = format!(
        "[control]\nlisten = \"{}\"\ntls_cert = {:?}\ntls_key = {:?}\ntls_client_ca = {:?}\nadmin_subjects = [\"CN=client\"]\n",
        app_host::CONTROL,
        file("node.crt"),
        file("node.key"),
        file("client.crt"),
    );
    let agent = Agent::start_with(&lab, &Config::with(&lines));
    agent.create(&["web"]);
    let url = format!("https://{}", app_host::CONTROL);
    let list = |more: &[&str]| {
        let mut command = lab.apps[0].command(kit::binary("harbor-ctl"));
        command.args(["dea", "list", "--to", &url, "-o", "json"]);
        kit::finish(command.args(more))
    };
    let (ca, identity) = (file("node.crt"), file("client.pem"));
    // Nobody who is not trusted is spoken to, and nobody who is not known is answered.
    assert_eq!(list(&["--identity-file", &identity]).code, 3);
    assert_ne!(list(&["--ca-file", &ca]).code, 0);
    let listed = list(&["--ca-file", &ca, "--identity-file", &identity]).ok();
    assert_eq!(listed.json()["kind"], "DeaList");
    let to = [
        "--to",
        url.as_str(),
        "--ca-file",
        &ca,
        "--identity-file",
        &identity,
    ];
    let _one = Instance::start(&lab, 0, ("web", "one"), 4_100, &to);
    eventually(SOON, || {
        agent.items(&["backends", "list", "web"]).len() == 1
    });
    // Without TLS there is nothing to be had.
    let plain = format!("http://{}/healthz", app_host::CONTROL);
    let mut curl = lab.apps[0].command("curl");
    assert_ne!(kit::finish(curl.args(["-sS", "-m", "5", &plain])).code, 0);
}
