//! Answers to app hosts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ErrorBody;
use crate::{discovery::Instance, model::Refusal};

/// `POST /v1/announce` and `POST /v1/heartbeat`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct Heard {
    /// False for what had been said before.
    pub(crate) applied: bool,
    /// Harbor believes something else than the app host: a full announcement is wanted.
    pub(crate) announce: bool,
    /// How long instances live without a heartbeat.
    pub(crate) lease_s: u64,
    /// How often one is expected.
    pub(crate) heartbeat_s: u64,
    /// Of a full announcement: what was not taken over; it is not registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) refused: Vec<RefusedInstance>,
}

impl Heard {
    /// For announcements that nobody answers: heard, with the lease that Harbor gives by itself.
    pub(crate) fn unanswered() -> Self {
        Self {
            applied: true,
            announce: false,
            lease_s: 17,
            heartbeat_s: 5,
            refused: Vec::new(),
        }
    }
}

/// An instance that was not taken over, and why.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct RefusedInstance {
    pub(crate) service: String,
    pub(crate) instance: String,
    #[serde(flatten)]
    pub(crate) error: ErrorBody,
}

impl RefusedInstance {
    pub(crate) fn new(said: &Instance, refusal: Refusal) -> Self {
        Self {
            service: said.service.clone(),
            instance: said.instance.clone(),
            error: refusal.into(),
        }
    }
}

/// An app host as `GET /v1/deas` lists it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AppHostItem {
    pub(crate) dea: String,
    /// Instances that it has registered.
    pub(crate) instances: usize,
    /// Names of the services that they belong to.
    pub(crate) services: Vec<String>,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// Missing: it has not been heard since the agent started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease_left_s: Option<u64>,
}

/// `DELETE /v1/deas/{dea}`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ForgottenAppHost {
    pub(crate) dea: String,
}

/// `POST /v1/announce` and `POST /v1/heartbeat`: what app hosts send, for the API's document;
/// [`crate::discovery::Message`] reads it.
#[derive(Debug, ToSchema)]
#[schema(as = AppHostDocument)]
#[serde(untagged)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(crate) enum AppHostDocument {
    /// How it is with one instance.
    One {
        #[serde(flatten)]
        speaker: Speaker,
        #[serde(flatten)]
        instance: Instance,
    },
    /// How it is with all of them.
    All {
        #[serde(flatten)]
        speaker: Speaker,
        instances: Vec<Instance>,
    },
    /// That the app host lives, and the digest of what it believes is registered.
    Alive {
        #[serde(flatten)]
        speaker: Speaker,
        digest: String,
    },
}

/// Who speaks: in each start of the announcer `epoch` is higher, and `seq` with each document.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "a document of the shape, never a value")]
pub(crate) struct Speaker {
    /// 1
    v: u32,
    dea: String,
    epoch: u64,
    seq: u64,
}
