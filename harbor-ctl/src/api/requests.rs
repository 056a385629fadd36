//! What is asked of the agent. Unknown fields are refused.

use serde::{Deserialize, Serialize};
use utoipa::{
    IntoParams, PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

use crate::model::{Protocol, Protocols, SettingValues, TcpFlag, change_schema, settings_schema};

/// `POST /v1/ports`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePort {
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9_.-]+$")]
    pub(crate) name: String,
    /// The pool whose nodes all serve it; missing: `pool.name` of the configuration, empty: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pool: Option<String>,
    /// Missing: the name decides.
    #[serde(default)]
    pub(crate) protocol: Option<Protocols>,
    /// Missing: a random free number.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// `IP:PORT` each.
    #[serde(default)]
    pub(crate) backends: Vec<String>,
    /// What is not to have its default; the body of `PATCH /v1/ports/{port}` is such an object.
    #[serde(default)]
    #[schema(schema_with = settings_schema)]
    pub(crate) settings: SettingValues,
    /// How long it lives, as `2h`; missing: until somebody deletes it. `PATCH` knows `for` too.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub(crate) lifetime: Option<String>,
}

/// `PATCH /v1/ports/{port}`, for the API's document: settings, and how long the port lives.
pub(crate) struct ChangePort;

impl PartialSchema for ChangePort {
    fn schema() -> RefOr<Schema> {
        change_schema()
    }
}

impl ToSchema for ChangePort {}

/// `POST /v1/backends`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddBackend {
    pub(crate) port: String,
    /// `IP:PORT`
    pub(crate) address: String,
    #[serde(default)]
    pub(crate) instance: Option<String>,
    /// 1 to 100; missing: as it was, and 1 for a new one.
    #[serde(default)]
    pub(crate) weight: Option<u8>,
}

/// `POST /v1/backends/remove` and `POST /v1/backends/drain`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NameBackend {
    pub(crate) port: String,
    /// An instance or `IP:PORT`.
    pub(crate) backend: String,
    /// Ends its flows at once instead of draining them; only for `remove`.
    #[serde(default)]
    pub(crate) now: bool,
}

/// `POST /v1/backends/check`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBackends {
    pub(crate) port: String,
    /// Settings to try instead of the port's own.
    #[serde(default)]
    #[schema(schema_with = settings_schema)]
    pub(crate) settings: SettingValues,
}

/// `POST /v1/flows/kill`: what is named must all be so of a flow.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct KillFlows {
    #[serde(default)]
    pub(crate) port: Option<String>,
    /// `IP` or `IP:PORT`
    #[serde(default)]
    pub(crate) client: Option<String>,
    /// An instance or `IP:PORT`.
    #[serde(default)]
    pub(crate) backend: Option<String>,
    /// Needed where nothing is named.
    #[serde(default)]
    pub(crate) all: bool,
}

impl KillFlows {
    /// Those that a question is about.
    pub(crate) fn all_of(which: &FlowQuery) -> Self {
        Self {
            port: which.port.clone(),
            client: which.client.clone(),
            backend: which.backend.clone(),
            all: true,
        }
    }

    /// What was named.
    pub(crate) fn described(&self) -> String {
        let named = [
            ("port", &self.port),
            ("client", &self.client),
            ("backend", &self.backend),
        ];
        let given = named
            .into_iter()
            .filter_map(|(what, value)| Some((what, value.as_ref()?)));
        let words: Vec<String> = given
            .map(|(what, value)| format!("{what} {value}"))
            .collect();
        match words.is_empty() {
            true => "all".to_owned(),
            false => words.join(", "),
        }
    }
}

/// Which flows are asked for: what is named must all be so of a flow.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FlowQuery {
    /// A number, NUMBER/PROTOCOL, a name or an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<String>,
    /// `IP` or `IP:PORT`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client: Option<String>,
    /// An instance or `IP:PORT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) backend: Option<String>,
    /// The most that are answered; counting knows no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<usize>,
}

/// `POST /v1/explain`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainPacket {
    /// `IP:PORT`
    pub(crate) src: String,
    /// `IP:PORT`
    pub(crate) dst: String,
    /// Missing: TCP.
    #[serde(default)]
    pub(crate) proto: Option<Protocol>,
    /// Missing: `syn`.
    #[serde(default)]
    pub(crate) flags: Vec<TcpFlag>,
}

/// `PUT /v1/config/{key}`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetConfig {
    pub(crate) value: String,
}
