//! What an editor saw of the values that he is about to change: where one is another by now, somebody
//! else has changed it, and nothing is overwritten.

use std::collections::BTreeMap;

use super::{
    refusal::{Refusal, RefusalKind},
    settings::PortSettings,
};

/// Values of a port's settings by key, as [`PortSettings::text`] has them; empty for whoever has looked
/// at none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen(BTreeMap<String, String>);

impl Seen {
    pub(crate) fn insert(&mut self, key: &str, value: &str) {
        self.0.insert(key.to_owned(), value.to_owned());
    }

    /// Refused under the first key that has another value now.
    pub(crate) fn check(&self, now: &PortSettings) -> Result<(), Refusal> {
        for (key, seen) in &self.0 {
            let current = now.text(key);
            if current != *seen {
                return Err(meanwhile(key, &current));
            }
        }
        Ok(())
    }
}

impl PortSettings {
    /// The value of a key as [`PortSettings::with`] reads it; empty for what has none.
    pub(crate) fn text(&self, key: &str) -> String {
        let all = serde_json::to_value(self).unwrap_or_default();
        match &all[key] {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(items) => {
                let texts = items.iter().filter_map(|item| item.as_str());
                texts.collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        }
    }
}

/// Somebody else has changed what this editor saw.
pub(crate) fn meanwhile(key: &str, current: &str) -> Refusal {
    let text = format!("somebody has changed {key} meanwhile: it is {current:?} now");
    let refusal = Refusal::new(RefusalKind::Conflict, text).field(key);
    refusal.fix("look at the new value, then change it again")
}
