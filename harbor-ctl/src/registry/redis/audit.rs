//! Whether what is kept fits together: the registry, the journal, and what this node knows.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::RegistryError, Engine};
use crate::model::Service;

impl Engine {
    /// Compares the registry and the journal with what this node knows.
    pub(super) async fn audit(&self) -> Result<Vec<String>, RegistryError> {
        let snapshot = self.snapshot().await?;
        let (journal, rule) = (self.journal.clone(), self.memory().rule.clone());
        let rows = tokio::task::spawn_blocking(move || journal.read(&rule)).await;
        let (rows, _) = rows.map_err(|error| RegistryError::Engine(error.into()))??;
        let known = self.memory().state.known.clone();
        let found = snapshot.records.into_iter();
        let found = found
            .filter_map(|(id, record)| Some((id, record.ok()?)))
            .collect();
        let rows = rows
            .into_iter()
            .map(|service| (service.id.clone(), service))
            .collect();
        let mut differences = differences("the registry", &known, &found);
        differences.extend(self::differences("the journal", &known, &rows));
        Ok(differences)
    }
}

/// What `place` holds otherwise than this node knows it.
fn differences(
    place: &str,
    known: &BTreeMap<String, Service>,
    found: &BTreeMap<String, Service>,
) -> Vec<String> {
    let ids: BTreeSet<&String> = known.keys().chain(found.keys()).collect();
    let compare = |id: &String| match (known.get(id), found.get(id)) {
        (Some(one), None) => Some(format!("{place} lacks port {} ({})", one.port, one.name)),
        (None, Some(one)) => Some(format!("{place} has port {} ({}) more", one.port, one.name)),
        (Some(one), Some(other)) if one != other => Some(format!(
            "{place} has another port {} ({})",
            one.port, one.name
        )),
        _ => None,
    };
    ids.into_iter().filter_map(compare).collect()
}
