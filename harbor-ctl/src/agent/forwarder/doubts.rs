//! What the datapath has told of backends: the last word on each, and what nobody has asked for yet.

use std::collections::BTreeMap;

use super::Forwarder;
use crate::model::{Doubt, DoubtReport};

/// News that nobody fetches are dropped beyond this number: they only ever speed a probe up.
const NEWS: usize = 4_096;

/// The datapath's doubts.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// By the backend's slot, with the tenant that it is about.
    last: BTreeMap<u32, DoubtReport>,
    news: Vec<DoubtReport>,
}

impl Doubts {
    /// What was last said of a backend.
    pub(super) fn of(&self, slot: u32, address: std::net::SocketAddr) -> Option<Doubt> {
        let report = self.last.get(&slot)?;
        (report.address == address).then_some(report.doubt)
    }

    pub(super) fn take_news(&mut self) -> Vec<DoubtReport> {
        std::mem::take(&mut self.news)
    }
}

impl Forwarder {
    /// Empties the ring.
    pub(super) fn hear(&mut self) {
        loop {
            match self.suspicions.next() {
                Ok(Some((slot, report))) => {
                    let DoubtReport { address, doubt, .. } = report;
                    tracing::debug!(%address, port = report.port, "{}", doubt.reason());
                    self.doubts.last.insert(slot, report);
                    if self.doubts.news.len() < NEWS {
                        self.doubts.news.push(report);
                    }
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("{error}");
                    return;
                }
            }
        }
    }
}
