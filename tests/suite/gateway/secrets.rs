//! Secrets are seen nowhere: not in a log at its most talkative, not in an error, not in the list of
//! processes, whatever is asked of whom.

use std::fs;

use kit::{Agent, Config, Lab, certify, finish};
use serde_json::{Value, json};

use super::{LISTEN, password};

/// The token of the control API.
const TOKEN: &str = "a-token-of-operators-0001";
const PASSWORD: &str = "a-password-of-platforms";
/// The same as it travels.
const ENCODED: &str = "aGFyYm9yOmEtcGFzc3dvcmQtb2YtcGxhdGZvcm1z";

#[test]
fn no_secret_is_seen_at_the_most_talkative_level() {
    let lab = Lab::routed();
    let certificate = certify(lab.folder(), "node", "IP:127.0.0.1");
    let key = lab.folder().join("node.key");
    let token = lab.folder().join("control.token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    finish(std::process::Command::new("chmod").arg("600").arg(&token)).ok();
    let tls = format!("tls_cert = {certificate:?}\ntls_key = {key:?}\n");
    let more = format!(
        "[gateway]\npassword_file = {:?}\n{tls}[control]\nlisten = \"127.0.0.1:8442\"\n\
         token_file = {token:?}\n{tls}[log]\nlevel = \"trace\"\n",
        password(&lab)
    );
    let agent = Agent::start_with(&lab, &Config::with(&more));
    let ask = |words: &[&str]| {
        let mut curl = lab.node.command("curl");
        curl.args(["-sS", "-m", "10", "--cacert", certificate.to_str().unwrap()]);
        curl.args(["-w", "\n%{http_code}"]).args(words);
        finish(&mut curl).ok().stdout
    };
    let broker = format!("https://{LISTEN}/v2");
    let auth = format!("Authorization: Basic {ENCODED}");
    let version = "X-Broker-API-Version: 2.17";
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let body = super::order("web", &json!({"colour": PASSWORD})).to_string();
    let good = super::order("web", &Value::Null).to_string();
    let instance = format!("{broker}/service_instances/i1");
    let mut said = String::new();
    for words in [
        &["-H", &auth, "-H", version, &format!("{broker}/catalog")][..],
        &["-H", &auth, &instance],
        &[
            "-H",
            "Authorization: Basic b3RoZXI6b3RoZXI=",
            "-H",
            version,
            &instance,
        ],
        &[
            "-H", &auth, "-H", version, "-X", "PUT", "-d", &good, &instance,
        ],
        &[
            "-H", &auth, "-H", version, "-X", "PUT", "-d", "{", &instance,
        ],
        &["-H", &bearer, "https://127.0.0.1:8442/v1/config"],
        &["-H", &bearer, "https://127.0.0.1:8442/v1/status"],
        &[
            "-H",
            "Authorization: Bearer wrong",
            "https://127.0.0.1:8442/v1/ports",
        ],
    ] {
        said.push_str(&ask(words));
    }
    assert!(
        said.contains("\n201") && said.contains("\n401") && said.contains("\n412"),
        "{said}"
    );
    assert!(body.contains(PASSWORD));
    for verb in [
        &["config", "show"][..],
        &["status"],
        &["state", "export"],
        &["bindings", "list"],
    ] {
        said.push_str(&agent.ctl_json_whatever(verb).to_string());
    }
    let level = agent.ctl_json(&["config", "get", "log.level"]).to_string();
    assert!(level.contains("trace"), "{level}");
    let key_lines = fs::read_to_string(&key).unwrap();
    let middle = key_lines.lines().nth(1).unwrap().to_owned();
    let mut places = vec![
        ("answers", said),
        ("output", agent.printed()),
        ("processes", processes(&agent)),
    ];
    for part in ["gateway", "node", "proxy_connector", "redis"] {
        places.push((part, agent.log(part)));
    }
    for (place, text) in places {
        for secret in [PASSWORD, ENCODED, TOKEN, &middle] {
            assert!(!text.contains(secret), "{secret} stands in {place}");
        }
    }
}

/// Arguments and environment of the agent.
fn processes(agent: &Agent) -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let path = entry.unwrap().path();
        let command = fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        if command.contains(&agent.config_file().display().to_string()) {
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            text.push_str(&command);
            text.push_str(&String::from_utf8_lossy(&environment));
        }
    }
    assert!(
        text.contains("agent"),
        "the agent is not in the list of processes"
    );
    text
}
