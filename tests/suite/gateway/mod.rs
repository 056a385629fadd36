//! Platforms that provision ports: the specification's every MUST, from nothing to traffic, limits,
//! garbage, secrets, and nodes that share a registry.

mod bindings;
mod conformance;
mod limits;
mod mutated;
mod nodes;
mod range;
mod rate;
mod secrets;
mod tls;
mod walk;

pub(crate) use mutated::withstands;
pub(crate) use rate::measure;

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, path::PathBuf};

use kit::{Agent, Config, Lab, http::Http};
use serde_json::{Value, json};

/// Where agents of these tests have the platform API.
pub(crate) const LISTEN: &str = "127.0.0.1:8443";
/// `harbor:a-password-of-platforms`
pub(crate) const BASIC: &str = "Authorization: Basic aGFyYm9yOmEtcGFzc3dvcmQtb2YtcGxhdGZvcm1z\r\n";
pub(crate) const VERSION: &str = "X-Broker-API-Version: 2.17\r\n";
pub(crate) const SERVICE: &str = "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a10";
pub(crate) const FREE: &str = "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a11";
const TCP: &str = "6f6b6b1e-3a53-4a0c-9b0b-5d1f2c9f7a12";

/// The file with the platform's password.
fn password(lab: &Lab) -> PathBuf {
    let path = lab.folder().join("gateway.password");
    fs::write(&path, "a-password-of-platforms\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Configuration lines for an agent with the platform API.
pub(crate) fn gateway(lab: &Lab) -> String {
    format!("[gateway]\npassword_file = {:?}\n", password(lab))
}

/// Fields are dropped in this order: the agent first, the ground under it last.
pub(crate) struct Ground {
    pub(crate) platform: Platform,
    pub(crate) agent: Agent,
    pub(crate) lab: Lab,
}

impl Ground {
    pub(crate) fn start(more: &str) -> Self {
        Self::on(|_| more.to_owned())
    }

    /// With lines that depend on the lab.
    pub(crate) fn on(more: impl FnOnce(&Lab) -> String) -> Self {
        let lab = Lab::routed();
        let lines = format!("{}{}", gateway(&lab), more(&lab));
        let agent = Agent::start_with(&lab, &Config::with(&lines));
        let platform = Platform::of(&lab);
        Self {
            platform,
            agent,
            lab,
        }
    }
}

/// A platform that asks politely; tests spoil what it says.
pub(crate) struct Platform {
    http: Http,
    header: String,
}

impl Platform {
    pub(crate) fn of(lab: &Lab) -> Self {
        let to: SocketAddr = LISTEN.parse().unwrap();
        Self {
            http: Http::tcp(&lab.node, to),
            header: format!("{BASIC}{VERSION}"),
        }
    }

    fn ask(&mut self, line: &str, body: &Value) -> (u16, Value) {
        let bytes = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        let (status, body) = self.http.ask(line, &self.header, &bytes).unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    pub(crate) fn provision(&mut self, id: &str, body: &Value) -> (u16, Value) {
        self.ask(&format!("PUT /v2/service_instances/{id}"), body)
    }

    pub(crate) fn bind(&mut self, id: &str, binding: &str, app: &str) -> (u16, Value) {
        let line = format!("PUT /v2/service_instances/{id}/service_bindings/{binding}");
        let body = json!({
            "service_id": SERVICE, "plan_id": FREE, "bind_resource": {"app_guid": app}
        });
        self.ask(&line, &body)
    }

    fn unbind(&mut self, id: &str, binding: &str) -> (u16, Value) {
        let line = format!(
            "DELETE /v2/service_instances/{id}/service_bindings/{binding}\
             ?service_id={SERVICE}&plan_id={FREE}"
        );
        self.ask(&line, &Value::Null)
    }

    pub(crate) fn deprovision(&mut self, id: &str) -> (u16, Value) {
        let line = format!("DELETE /v2/service_instances/{id}?service_id={SERVICE}&plan_id={FREE}");
        self.ask(&line, &Value::Null)
    }
}

/// The request for an instance of plan `free`.
pub(crate) fn order(name: &str, parameters: &Value) -> Value {
    json!({
        "service_id": SERVICE, "plan_id": FREE,
        "organization_guid": "org", "space_guid": "space",
        "context": {"platform": "cloudfoundry", "instance_name": name},
        "parameters": parameters,
    })
}
