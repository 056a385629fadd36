//! The configuration as `config show` prints it.

use super::{
    Loaded,
    keys::{Applies, KEYS, Key},
    value::Value,
};
use crate::model::ConfigItem;

/// Every value, as `written` has it; `running` says what is in force.
pub(crate) fn config_items(running: &Loaded, written: &Loaded) -> Vec<ConfigItem> {
    KEYS.iter()
        .filter_map(|key| config_item(key, running, written))
        .collect()
}

fn config_item(key: &Key, running: &Loaded, written: &Loaded) -> Option<ConfigItem> {
    let entry = written.entries.get(&key.path())?;
    let in_force = running.entries.get(&key.path()).map(|entry| &entry.value);
    Some(ConfigItem {
        key: key.path(),
        value: entry.value.plain(),
        toml: entry.value.to_string(),
        origin: entry.origin.to_string(),
        default: key.default.to_owned(),
        meaning: key.meaning.to_owned(),
        applies: key.applies.name().to_owned(),
        restart_needed: in_force != Some(&entry.value),
        in_force: in_force.map(Value::plain).unwrap_or_default(),
    })
}

impl Applies {
    /// As the API says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::OnRestart => "restart",
        }
    }
}
