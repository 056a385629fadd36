//! Elements that several rows share because they hold the same: lists of sources, lists of networks,
//! turn tables. Pure.
//!
//! An element in use is never rewritten. A row that wants other contents gets another element, and
//! the old one is free again once nothing refers to it and no packet can still read it.

use std::collections::{BTreeMap, BTreeSet};

use super::{desired::Scope, slots::Slots};

/// The wanted contents of one kind, and the elements that hold them.
#[derive(Debug)]
pub(super) struct Pool<'a, T> {
    held: &'a BTreeMap<u32, T>,
    /// Made when it is first needed: most changes need none.
    by_contents: Option<BTreeMap<T, u32>>,
    used: BTreeSet<u32>,
    /// Elements to write before anything refers to them.
    pub(super) fresh: Vec<(u32, T)>,
}

impl<'a, T: Ord + Clone> Pool<'a, T> {
    /// What the tables hold.
    pub(super) fn new(held: &'a BTreeMap<u32, T>) -> Self {
        Self {
            held,
            by_contents: None,
            used: BTreeSet::new(),
            fresh: Vec::new(),
        }
    }

    /// The element with these contents, a new one if there is none; `None` when all are used.
    pub(super) fn element(&mut self, contents: &T, free: &mut Slots) -> Option<u32> {
        if let Some(element) = self.by_contents().get(contents).copied() {
            self.used.insert(element);
            return Some(element);
        }
        let element = free.take()?;
        self.fresh.push((element, contents.clone()));
        self.by_contents().insert(contents.clone(), element);
        self.used.insert(element);
        Some(element)
    }

    /// Whether some element has these contents.
    pub(super) fn holds(&mut self, contents: &T) -> bool {
        self.by_contents().contains_key(contents)
    }

    fn by_contents(&mut self) -> &mut BTreeMap<T, u32> {
        let held = self.held;
        self.by_contents.get_or_insert_with(|| {
            let each = held.iter().rev();
            each.map(|(element, contents)| (contents.clone(), *element))
                .collect()
        })
    }

    /// Keeps an element that a row refers to which is not to be changed.
    pub(super) fn keep(&mut self, element: u32) {
        self.used.insert(element);
    }

    /// The elements to write, and those that nothing will refer to.
    pub(super) fn finish(self, scope: &Scope) -> (Vec<(u32, T)>, Vec<u32>) {
        if let Scope::Part(_) = scope {
            // Rows outside may refer to what these do not.
            return (self.fresh, Vec::new());
        }
        let is_idle = |element: &&u32| !self.used.contains(element);
        let idle = self.held.keys().filter(is_idle).copied().collect();
        (self.fresh, idle)
    }
}
