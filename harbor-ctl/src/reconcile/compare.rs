//! Finds rows of the kernel's tables that are not as the agent wrote them.

use std::{collections::BTreeMap, fmt::Display};

use harbor_common::maps::{ACL, ADDRESSES, BACKEND_SETS, BACKENDS, ENDPOINTS, FRONTENDS, SOURCES};

use super::{
    actual::{Actual, Served},
    keys::{BackendKey, FrontendKey},
};
use crate::model::{Deviation, Difference};

/// Compares the elements of one map, as written and as found.
pub(crate) fn compare<K: Ord, V: PartialEq>(
    map: &str,
    (written, found): (&BTreeMap<K, V>, &BTreeMap<K, V>),
    name: impl Fn(&K) -> String,
) -> Vec<Difference> {
    let difference = |key: &K, problem| Difference {
        map: map.into(),
        element: name(key),
        problem,
    };
    let ours = written.iter().filter_map(|(key, value)| {
        let problem = match found.get(key) {
            None => Deviation::Missing,
            Some(found) if found != value => Deviation::Changed,
            Some(_) => return None,
        };
        Some(difference(key, problem))
    });
    let others = found.keys().filter(|key| !written.contains_key(key));
    ours.chain(others.map(|key| difference(key, Deviation::Unexpected)))
        .collect()
}

impl Actual {
    /// Where the tables, as they were just found, differ from this picture of them.
    ///
    /// Generations of slots are no table of their own, and turn tables are known by their sets here.
    pub(crate) fn differences(&self, found: &Self) -> Vec<Difference> {
        let index = |actual: &Self| by_key(actual, |(frontend, _)| *frontend);
        let sets = |actual: &Self| by_key(actual, |(_, sets)| sets.clone());
        // A list that nothing refers to is not read.
        let lists: BTreeMap<_, _> = self
            .sources
            .iter()
            .filter(|(element, _)| found.sources.contains_key(element))
            .map(|(element, list)| (*element, *list))
            .collect();
        [
            compare(ADDRESSES, (&self.addresses, &found.addresses), text),
            compare(FRONTENDS, (&index(self), &index(found)), text),
            compare(BACKEND_SETS, (&sets(self), &sets(found)), text),
            compare(BACKENDS, (&self.backends, &found.backends), text),
            compare(ENDPOINTS, (&self.endpoints, &found.endpoints), |endpoint| {
                format!("{} {}", endpoint.address, endpoint.port)
            }),
            compare(SOURCES, (&lists, &found.sources), text),
            compare(ACL, (&self.acls, &found.acls), |list| {
                format!("list {list}")
            }),
        ]
        .concat()
    }

    /// How many elements [`Self::differences`] looks at.
    pub(crate) fn elements(&self) -> u64 {
        let counts = [
            self.addresses.len(),
            2 * self.frontends.len(),
            self.backends.len(),
            self.endpoints.len(),
            self.sources.len(),
            self.acls.len(),
            self.turns.len(),
        ];
        counts.iter().sum::<usize>() as u64
    }
}

fn by_key<V>(actual: &Actual, part: impl Fn(&Served) -> V) -> BTreeMap<FrontendKey, V> {
    let served = actual.frontends.iter();
    served.map(|(key, served)| (*key, part(served))).collect()
}

fn text<K: Display>(key: &K) -> String {
    key.to_string()
}

impl Display for FrontendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.protocol, self.port)
    }
}

impl Display for BackendKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of {}", self.address, self.frontend)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_changed_and_unexpected_is_told_apart() {
        let map = |pairs: &[(u32, u32)]| pairs.iter().copied().collect::<BTreeMap<_, _>>();
        let (written, found) = (
            map(&[(1, 1), (2, 2), (3, 3)]),
            map(&[(2, 9), (3, 3), (4, 4)]),
        );
        let told: Vec<(String, Deviation)> = compare("m", (&written, &found), u32::to_string)
            .into_iter()
            .map(|difference| (difference.element, difference.problem))
            .collect();
        let expected = [
            ("1", Deviation::Missing),
            ("2", Deviation::Changed),
            ("4", Deviation::Unexpected),
        ];
        assert_eq!(
            told,
            expected.map(|(key, problem)| (key.to_owned(), problem))
        );
    }

    #[test]
    fn a_picture_does_not_differ_from_itself() {
        let mut actual = Actual::default();
        actual.addresses.insert(Default::default(), 1);
        assert_eq!(actual.differences(&actual.clone()), Vec::new());
        assert_eq!(actual.differences(&Actual::default()).len(), 1);
        assert_eq!(actual.elements(), 1);
    }
}
