//! Ports that other nodes serve: what this node does not see of them, it does not assert.

use super::Snapshot;
use crate::model::{NodeRecord, Service};

impl Snapshot {
    /// Who serves it, if this node does not; that is why little of it is known here.
    pub(crate) fn elsewhere(&self, service: &Service) -> Option<String> {
        if self.is_own(service) {
            return None;
        }
        let node = &service.node;
        if !service.pool.is_empty() {
            return Some(format!("nodes of the pool {} serve it", service.pool));
        }
        let is_away = |record: &NodeRecord| record.id == *node && record.state() == "away";
        let mut records = self.nodes.iter().flatten();
        Some(match records.any(is_away) {
            true => format!("node {node} serves it, and is away"),
            false => format!("node {node} serves it"),
        })
    }
}
