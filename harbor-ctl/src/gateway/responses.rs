//! What platforms are answered, as the specification names it.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{Credentials, SettingValues};

/// `GET /v2/catalog`
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Catalog {
    pub(super) services: Vec<Offer>,
}

/// A service of the catalog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Offer {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) tags: [&'static str; 3],
    pub(super) bindable: bool,
    pub(super) instances_retrievable: bool,
    pub(super) bindings_retrievable: bool,
    pub(super) allow_context_updates: bool,
    pub(super) plan_updateable: bool,
    pub(super) metadata: OfferMetadata,
    pub(super) plans: Vec<PlanOffer>,
}

/// What platforms show of a service.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfferMetadata {
    pub(super) display_name: &'static str,
    pub(super) long_description: &'static str,
}

/// A plan of the catalog.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlanOffer {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) free: bool,
    pub(super) bindable: bool,
    /// The parameters that may be given, as JSON schemas.
    #[schema(value_type = Object)]
    pub(super) schemas: Value,
}

/// An instance as it is.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct InstanceFound {
    pub(super) service_id: &'static str,
    pub(super) plan_id: &'static str,
    #[schema(value_type = Object)]
    pub(super) parameters: SettingValues,
}

/// A binding as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BindingTold {
    pub(super) credentials: Credentials,
    /// For platforms that know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoints: Option<Vec<Endpoint>>,
}

/// Where clients go.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Endpoint {
    pub(super) host: String,
    pub(super) ports: [String; 1],
    /// `tcp` or `udp`.
    pub(super) protocol: String,
}

/// How far an operation is: all are over when they are answered.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LastOperation {
    /// `succeeded`
    pub(super) state: &'static str,
}

/// Nothing more is to be said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Done {}

/// Why a request was refused.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Problem {
    /// For what the specification, or Harbor, has a word: `PortRangeExhausted`, `QuotaExceeded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<&'static str>,
    pub(super) description: String,
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) field: Option<String>,
}
