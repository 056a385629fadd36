//! A setting's value as it was given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A value as it was given: typed in JSON, text on a command line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum SettingValue {
    Nothing(()),
    Number(u64),
    Text(String),
    List(Vec<String>),
    /// Several keys of one matter, without its name: `health` and `limits` have that.
    Object(BTreeMap<String, SettingValue>),
}

/// Keys with their values, as they were given.
pub(crate) type SettingValues = BTreeMap<String, SettingValue>;
