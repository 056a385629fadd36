//! Configuration as it is shown to people and tools.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One configuration value.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct ConfigItem {
    /// `section.name`
    pub(crate) key: String,
    /// Without quotes; lists separated by commas.
    pub(crate) value: String,
    /// As TOML.
    pub(crate) toml: String,
    pub(crate) origin: String,
    pub(crate) default: String,
    pub(crate) meaning: String,
    /// `at-once` or `restart`.
    pub(crate) applies: String,
    /// The file says another value than the running agent uses.
    pub(crate) restart_needed: bool,
    /// What the running agent uses; without one the same as `value`.
    #[serde(default)]
    pub(crate) in_force: String,
}
