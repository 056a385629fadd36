//! Ports that other nodes serve: what this node does not see of them, it does not assert.

use super::Snapshot;
use crate::model::{NodeRecord, PortRef, Refusal, RefusalKind, Service};

impl Snapshot {
    /// Refuses to say anything of flows that are another node's: this one has none of them, and that is not
    /// how many there are.
    pub(crate) fn unless_elsewhere(&self, port: Option<&str>) -> Result<(), Refusal> {
        let Some(port) = port else { return Ok(()) };
        let service = PortRef::parse(port)?.resolve(&self.services)?;
        let Some(why) = self.elsewhere(service) else {
            return Ok(());
        };
        let (name, number) = (&service.name, service.port);
        let text = format!("the flows of port {number} ({name}) are not known here: {why}");
        let fix = format!("on that node: harbor-ctl flows list -p {name}");
        Err(Refusal::new(RefusalKind::NotReady, text).fix(fix))
    }

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
