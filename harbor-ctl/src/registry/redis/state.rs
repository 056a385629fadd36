//! What this node knows of the shared registry: pure, and the place where a removal is believed or
//! not.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;

use super::super::journal::{Deleted, Position};
use crate::model::{Pools, Protocol, Service};

/// So many own ports may vanish at once without a question.
const FEW: usize = 3;
/// More than one of so many own ports is a question.
const SHARE: usize = 4;

/// The most bad records that are remembered one by one.
const REFUSED: usize = 256;

/// The most deleted services that are remembered.
const DELETED: usize = 4_096;

/// A foreign id, for people.
fn shown(id: &str) -> String {
    id.escape_default().take(64).collect()
}

/// A record as it came: read, or refused with the reason.
pub(super) type Record = Result<Service, String>;

/// Everything at one moment, as it came.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) position: Position,
    pub(super) records: Vec<(String, Record)>,
    pub(super) resting: BTreeMap<(Protocol, u16), u64>,
}

/// The last good state.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) known: BTreeMap<String, Service>,
    pub(super) resting: BTreeMap<(Protocol, u16), u64>,
    pub(super) pools: Pools,
    /// Number of the last change of a pool that is known.
    pub(super) pools_seq: u64,
    pub(super) position: Position,
    pub(super) withheld: BTreeSet<String>,
    pub(super) unplaced: BTreeMap<String, String>,
    pub(super) refused: BTreeMap<String, String>,
    /// Services that somebody deleted, in the order in which that was heard.
    pub(super) deleted: IndexMap<String, Deleted>,
}

impl State {
    /// Knows what the journal holds.
    pub(super) fn remember(&mut self, services: Vec<Service>) {
        for service in services {
            // It was made anew since.
            self.deleted.shift_remove(&service.id);
            self.known.insert(service.id.clone(), service);
        }
    }

    /// The services that this node has, by itself or as one of a pool.
    pub(super) fn own(&self, node: &str) -> Vec<Service> {
        self.known
            .values()
            .filter(|service| service.is_of(node, &self.pools))
            .cloned()
            .collect()
    }

    /// Takes one record over; whether it is news. A bad one leaves the last good one in place.
    pub(super) fn take(&mut self, id: &str, record: Record) -> bool {
        match record {
            Ok(service) => {
                self.refused.remove(id);
                self.withheld.remove(id);
                self.unplaced.remove(id);
                self.deleted.shift_remove(id);
                let is_news = self.known.get(id) != Some(&service);
                self.known.insert(id.to_owned(), service);
                is_news
            }
            Err(why) => {
                self.refuse(id, why);
                false
            }
        }
    }

    /// Remembers a bad record, and tells it once.
    fn refuse(&mut self, id: &str, why: String) {
        let is_told = self.refused.get(id) == Some(&why);
        if is_told || (self.refused.len() >= REFUSED && !self.refused.contains_key(id)) {
            return;
        }
        tracing::error!("the record of service {} is refused: {why}", shown(id));
        if self.refused.len() + 1 == REFUSED {
            tracing::error!("{REFUSED} records are refused; more are not told");
        }
        self.refused.insert(id.to_owned(), why);
    }

    /// How many records are refused, and one of them.
    pub(super) fn refused(&self) -> Option<(usize, String)> {
        let (id, why) = self.refused.first_key_value()?;
        Some((self.refused.len(), format!("{}: {why}", shown(id))))
    }

    /// Somebody said that a service is gone; whether that is news.
    pub(super) fn forget(&mut self, id: &str) -> bool {
        self.withheld.remove(id);
        self.unplaced.remove(id);
        self.refused.remove(id);
        self.known.remove(id).is_some()
    }

    /// Somebody has deleted a service, and it is to stay so; what is forgotten for it comes second.
    pub(super) fn delete(&mut self, id: &str) -> (bool, Option<String>) {
        if let Some(service) = self.known.get(id) {
            self.deleted.insert(id.to_owned(), Deleted::of(service));
        }
        let is_full = self.deleted.len() > DELETED;
        let oldest = is_full.then(|| self.deleted.shift_remove_index(0));
        (self.forget(id), oldest.flatten().map(|(id, _)| id))
    }

    /// Own services that a snapshot lacks, or holds as they were before they were changed last.
    pub(super) fn lost(&self, node: &str, snapshot: &Snapshot) -> Vec<Service> {
        let found: BTreeMap<&str, &Record> = snapshot
            .records
            .iter()
            .map(|(id, record)| (id.as_str(), record))
            .collect();
        let is_lost = |service: &Service| match found.get(service.id.as_str()) {
            None => true,
            Some(Ok(found)) => found.revision < service.revision,
            Some(Err(_)) => false,
        };
        let own = self.own(node).into_iter();
        own.filter(is_lost).collect()
    }

    /// Own services of a snapshot that were deleted, and are there again as they were.
    pub(super) fn returned(&self, node: &str, snapshot: &Snapshot) -> Vec<Service> {
        let found = snapshot
            .records
            .iter()
            .filter_map(|(_, record)| record.as_ref().ok());
        let is_old = |service: &&Service| {
            let deleted = self.deleted.get(&service.id);
            service.is_of(node, &self.pools) && deleted.is_some_and(|deleted| deleted.was(service))
        };
        found.filter(is_old).cloned().collect()
    }

    #[cfg(test)]
    fn take_all(&mut self, node: &str, snapshot: Snapshot) -> Vec<String> {
        self.take_all_but(&BTreeSet::new(), node, snapshot)
    }

    /// Takes everything over by its content but these, which stay as they are known; answers the ids
    /// that differ. What is missing was removed, unless that is too much of this node's at once.
    pub(super) fn take_all_but(
        &mut self,
        kept: &BTreeSet<String>,
        node: &str,
        snapshot: Snapshot,
    ) -> Vec<String> {
        let Snapshot {
            position,
            records,
            resting,
        } = snapshot;
        let present: BTreeSet<String> = records.iter().map(|(id, _)| id.clone()).collect();
        self.refused.retain(|id, _| present.contains(id));
        let mut differ = Vec::new();
        for (id, record) in records {
            if !kept.contains(&id) && self.take(&id, record) {
                differ.push(id);
            }
        }
        let withheld = self.withhold(node, &present);
        let stays =
            |id: &String| present.contains(id) || withheld.contains(id) || kept.contains(id);
        let is_gone = |id: &&String| !stays(id);
        let gone: Vec<String> = self.known.keys().filter(is_gone).cloned().collect();
        for id in gone {
            self.forget(&id);
            differ.push(id);
        }
        self.resting = resting;
        self.position = position;
        differ
    }

    /// Own services that are missing and stay nevertheless.
    fn withhold(&mut self, node: &str, present: &BTreeSet<String>) -> BTreeSet<String> {
        let pools = &self.pools;
        let own = |service: &&Service| service.is_of(node, pools);
        let count = self.known.values().filter(own).count();
        let ids = self
            .known
            .values()
            .filter(own)
            .map(|service| service.id.clone());
        let (unplaced, missing): (BTreeSet<_>, BTreeSet<_>) = ids
            .filter(|id| !present.contains(id))
            .partition(|id| self.unplaced.contains_key(id));
        if missing.len() > FEW && missing.len() * SHARE > count {
            if missing != self.withheld {
                tracing::error!(
                    "{} of this node's {count} ports are missing in the registry: they stay until \
                     `harbor-ctl state confirm`",
                    missing.len()
                );
            }
            self.withheld = missing;
        } else {
            self.withheld.retain(|id| missing.contains(id));
        }
        unplaced.union(&self.withheld).cloned().collect()
    }

    /// The operator believes what is missing; answers what is gone now.
    pub(super) fn confirm(&mut self) -> Vec<String> {
        let gone: Vec<String> = std::mem::take(&mut self.withheld).into_iter().collect();
        gone.iter().for_each(|id| drop(self.known.remove(id)));
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Protocols, testing::service};

    fn port(number: u16) -> Service {
        let mut one = service(&format!("s{number}"), number, Protocols::Tcp);
        one.node = "n".into();
        one
    }

    fn snapshot(numbers: impl IntoIterator<Item = u16>) -> Snapshot {
        let record = |number| (port(number).id, Ok(port(number)));
        Snapshot {
            records: numbers.into_iter().map(record).collect(),
            ..Snapshot::default()
        }
    }

    fn state(numbers: impl IntoIterator<Item = u16>) -> State {
        let mut state = State::default();
        state.take_all("n", snapshot(numbers));
        state
    }

    #[test]
    fn a_snapshot_is_compared_by_content() {
        let mut state = state(1..=20);
        assert!(state.take_all("n", snapshot(1..=20)).is_empty());
        assert_eq!(state.take_all("n", snapshot(1..=19)), ["id-s20"]);
        let mut changed = snapshot(1..=19);
        if let Ok(service) = &mut changed.records[4].1 {
            service.draining = true;
        }
        assert_eq!(state.take_all("n", changed), ["id-s5"]);
        assert_eq!(state.known.len(), 19);
    }

    #[test]
    fn too_much_at_once_is_withheld_until_it_is_confirmed_or_comes_back() {
        let mut held = state(1..=12);
        assert!(held.take_all("n", snapshot(1..=8)).is_empty());
        assert_eq!((held.known.len(), held.withheld.len()), (12, 4));
        held.take_all("n", snapshot(1..=10));
        assert_eq!((held.known.len(), held.withheld.len()), (12, 2));
        assert_eq!(held.confirm().len(), 2);
        assert_eq!(held.known.len(), 10);
        // Three are few, whatever their share; of another node's any number may go.
        assert_eq!(state(1..=4).take_all("n", snapshot(1..=1)).len(), 3);
        assert_eq!(state(1..=9).take_all("other", snapshot([])).len(), 9);
    }

    #[test]
    fn a_bad_record_leaves_the_last_good_one() {
        let mut state = state(1..=5);
        let mut bad = snapshot(1..=5);
        bad.records[0].1 = Err("no JSON".into());
        assert!(state.take_all("n", bad).is_empty());
        assert_eq!((state.known.len(), state.refused.len()), (5, 1));
        state.take_all("n", snapshot(1..=5));
        assert!(state.refused.is_empty());
    }
}
