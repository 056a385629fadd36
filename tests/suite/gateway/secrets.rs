//! Secrets are seen nowhere: not in a log at its most talkative, not in an error, not in the list of
//! processes, whatever is asked of whom.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use kit::{Agent, Config, Lab, certify, finish};
use serde_json::{Value, json};

use super::{FREE, LISTEN, SERVICE, password};

/// The token of the control API.
const TOKEN: &str = "a-token-of-operators-0001";
const PASSWORD: &str = "a-password-of-platforms";
/// The same as it travels.
const ENCODED: &str = "aGFyYm9yOmEtcGFzc3dvcmQtb2YtcGxhdGZvcm1z";

/// An agent with every secret that the gateway and the control API have, and everything logged.
struct Talkative {
    agent: Agent,
    certificate: PathBuf,
    /// A line of the key that no other file has.
    key_line: String,
    lab: Lab,
}

fn talkative() -> Talkative {
    let lab = Lab::routed();
    let certificate = certify(lab.folder(), "node", "IP:127.0.0.1");
    let key = lab.folder().join("node.key");
    let token = lab.folder().join("control.token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    let tls = format!("tls_cert = {certificate:?}\ntls_key = {key:?}\n");
    let more = format!(
        "[gateway]\npassword_file = {:?}\n{tls}[control]\nlisten = \"127.0.0.1:8442\"\n\
         token_file = {token:?}\n{tls}[log]\nlevel = \"trace\"\n",
        password(&lab)
    );
    let text = fs::read_to_string(&key).unwrap();
    Talkative {
        agent: Agent::start_with(&lab, &Config::with(&more)),
        certificate,
        key_line: text.lines().nth(1).unwrap().to_owned(),
        lab,
    }
}

impl Talkative {
    /// What curl is answered: the body and the status.
    fn ask(&self, header: &str, words: &[&str]) -> String {
        let mut curl = self.lab.node.command("curl");
        curl.args(["-sS", "-m", "10", "--cacert"])
            .arg(&self.certificate);
        curl.args(["-H", "X-Broker-API-Version: 2.17", "-H", header]);
        finish(curl.args(["-w", "\n%{http_code}"]).args(words))
            .ok()
            .stdout
    }

    /// Everything that can be seen of it from outside.
    fn places(&self) -> Vec<(&'static str, String)> {
        let mut places = vec![
            ("output", self.agent.printed()),
            ("processes", processes(&self.agent)),
        ];
        for part in ["gateway", "node", "proxy_connector", "redis"] {
            places.push((part, self.agent.log(part)));
        }
        let verbs = [
            &["config", "show"][..],
            &["status"],
            &["state", "export"],
            &["bindings", "list"],
            &["events"],
        ];
        let said = verbs.map(|verb| self.agent.ctl_json_whatever(verb).to_string());
        places.push(("answers", said.concat()));
        places
    }
}

#[test]
fn no_secret_is_seen_at_the_most_talkative_level() {
    let scene = talkative();
    let level = scene.agent.ctl_json(&["config", "get", "log.level"]);
    assert!(level.to_string().contains("trace"), "{level}");
    let instance = format!("https://{LISTEN}/v2/service_instances/i1");
    let auth = format!("Authorization: Basic {ENCODED}");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let good = super::order("web", &Value::Null).to_string();
    let binding = format!("{instance}/service_bindings/b1");
    let bind = json!({"service_id": SERVICE, "plan_id": FREE}).to_string();
    let config = "https://127.0.0.1:8442/v1/config";
    let mut said = String::new();
    for (header, words) in [
        (auth.as_str(), &["-X", "PUT", "-d", &good, &instance][..]),
        (&auth, &["-X", "PUT", "-d", "{", &instance]),
        (&auth, &[&instance]),
        (&auth, &["-X", "PUT", "-d", &bind, &binding]),
        (&auth, &[&binding]),
        (&bearer, &[&instance]),
        ("Authorization: Basic b3RoZXI6b3RoZXI=", &[&instance]),
        (&bearer, &[config]),
        (&auth, &[config]),
        ("Authorization: Bearer wrong", &[config]),
    ] {
        said.push_str(&scene.ask(header, words));
    }
    for status in ["\n201", "\n400", "\n200", "\n401"] {
        assert!(said.contains(status), "{said}");
    }
    let mut places = scene.places();
    places.push(("bodies", said));
    for (place, text) in places {
        for secret in [PASSWORD, ENCODED, TOKEN, &scene.key_line] {
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
