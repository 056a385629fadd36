//! Bindings as operators see them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::Credentials;

/// One binding, with its credentials as they are now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct BindingItem {
    pub(crate) id: String,
    /// The service's id.
    pub(crate) instance: String,
    /// The service's name.
    pub(crate) service: String,
    /// Missing: a key that belongs to no app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    pub(crate) credentials: Credentials,
}
