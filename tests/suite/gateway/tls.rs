//! Certificates that platforms give: in force at once, kept for root alone, never returned.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use kit::{V4, certify, eventually, finish_within, traffic};
use serde_json::{Value, json};

use super::{Ground, Platform, SERVICE};

const HTTPS: &str = "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a15";
const SOON: Duration = Duration::from_secs(10);

fn order(parameters: &Value) -> Value {
    json!({
        "service_id": SERVICE, "plan_id": HTTPS, "organization_guid": "org",
        "space_guid": "space", "parameters": parameters,
    })
}

/// The texts of a certificate and its key, made for this name.
fn pair(ground: &Ground, name: &str) -> Value {
    let folder = ground.lab.folder();
    certify(folder, name, &format!("DNS:{name}.test"));
    let read = |end: &str| fs::read_to_string(folder.join(format!("{name}.{end}"))).unwrap();
    json!({"certificate": read("crt"), "key": read("key")})
}

/// Whether a client that trusts this certificate is shown it.
fn is_shown(ground: &Ground, name: &str, port: u16) -> bool {
    let to = SocketAddr::new(ground.lab.public(V4), port).to_string();
    let host = format!("{name}.test");
    let mut command = ground.lab.client.command("openssl");
    command.args(["s_client", "-brief", "-connect", &to, "-servername", &host]);
    command.args(["-verify_return_error", "-verify_hostname", &host, "-CAfile"]);
    command.arg(ground.lab.folder().join(format!("{name}.crt")));
    let said = finish_within(Duration::from_secs(60), &mut command);
    said.stderr.contains("Verification: OK")
}

/// What the node keeps of certificates.
fn kept(ground: &Ground) -> Vec<std::path::PathBuf> {
    let folder = ground.agent.folder().join("state").join("tls");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[test]
fn a_platforms_certificate_is_in_force_and_its_key_is_never_told() {
    let mut ground = Ground::start("");
    let app = SocketAddr::new(ground.lab.app(V4, 0), 9_001);
    let _app = traffic::serve(&ground.lab.apps[0], ground.lab.folder(), "app1", &[app]);
    let (one, two) = (pair(&ground, "one"), pair(&ground, "two"));
    let line = "PUT /v2/service_instances/i1";
    let wrong = json!({"tls": {"certificate": one["certificate"], "key": two["key"]}});
    let (status, body) = ground.platform.ask(line, &order(&wrong));
    assert_eq!(status, 400, "{body}");
    assert!(
        body["description"].to_string().contains("not the key"),
        "{body}"
    );
    assert!(kept(&ground).is_empty());

    let first = order(&json!({"tls": one}));
    assert_eq!(ground.platform.ask(line, &first).0, 201);
    assert_eq!(ground.platform.ask(line, &first).0, 200);
    assert_eq!(
        ground.platform.ask(line, &order(&json!({"tls": two}))).0,
        409
    );
    let port = ground.agent.items(&["ports", "list"])[0]["port"]
        .as_u64()
        .unwrap();
    let port = u16::try_from(port).unwrap();
    let name = ground.agent.items(&["ports", "list"])[0]["name"].clone();
    let add = ["backends", "add", name.as_str().unwrap(), &app.to_string()];
    ground.agent.ctl(&add).ok();
    eventually(SOON, || is_shown(&ground, "one", port));
    let files = kept(&ground);
    assert_eq!(files.len(), 2, "{files:?}");
    for file in &files {
        let mode = fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }

    let update = "PATCH /v2/service_instances/i1";
    assert_eq!(
        ground.platform.ask(update, &order(&json!({"tls": two}))).0,
        200
    );
    eventually(SOON, || is_shown(&ground, "two", port));
    assert!(!is_shown(&ground, "one", port));
    assert_eq!(kept(&ground).len(), 2);
    let (status, told) = ground
        .platform
        .ask("GET /v2/service_instances/i1", &Value::Null);
    assert_eq!(status, 200);
    let secret = two["key"].as_str().unwrap().lines().nth(1).unwrap();
    let exported = ground.agent.ctl_json(&["state", "export"]).to_string();
    let listed = ground.agent.ctl_json(&["ports", "list"]).to_string();
    for text in [told.to_string(), exported, listed] {
        assert!(!text.contains(secret), "{text}");
    }

    // What was given outlives the agent, and not the instance.
    ground.agent.stop();
    ground.agent.restart();
    // The old connection went with the agent.
    ground.platform = Platform::of(&ground.lab);
    eventually(SOON, || is_shown(&ground, "two", port));
    let line = format!("DELETE /v2/service_instances/i1?service_id={SERVICE}&plan_id={HTTPS}");
    assert_eq!(ground.platform.ask(&line, &Value::Null).0, 200);
    assert!(kept(&ground).is_empty());
}

#[test]
fn a_platform_cannot_name_files_of_the_node() {
    let mut ground = Ground::start("");
    let paths = order(&json!({"tls": "/etc/ssl/a.crt,/etc/ssl/a.key"}));
    let (status, body) = ground.platform.ask("PUT /v2/service_instances/i1", &paths);
    assert_eq!(status, 400, "{body}");
    assert!(ground.agent.items(&["ports", "list"]).is_empty());
}
