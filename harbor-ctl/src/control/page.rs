//! Cuts lists into pages: at most `limit` items, and a token for the rest.
//!
//! The token is the key of the page's last item, so items that come or go in between neither
//! repeat nor hide others.

use std::collections::BTreeMap;

use crate::{api::List, model::Refusal};

/// Used when no limit is given, and the most that may be asked for.
pub(crate) const PAGE_LIMIT: usize = 1_000;

/// How many items a page has.
pub(super) fn page_limit(wanted: Option<usize>) -> Result<usize, Refusal> {
    let limit = wanted.unwrap_or(PAGE_LIMIT);
    match (1..=PAGE_LIMIT).contains(&limit) {
        true => Ok(limit),
        false => {
            let text = format!("limit = {limit}: 1 to {PAGE_LIMIT} is allowed");
            Err(Refusal::invalid("limit", text))
        }
    }
}

/// A page that is filled with the items of a list as they come, in whatever order: it holds those that
/// belong on it, and no others.
#[derive(Debug)]
pub(crate) struct Page<T> {
    limit: usize,
    /// The key of the last item of the page before.
    after: Option<String>,
    /// By key, and in the order in which they came.
    items: BTreeMap<(String, usize), T>,
    seen: usize,
    has_more: bool,
}

impl<T> Page<T> {
    pub(crate) fn new((limit, after): (Option<usize>, Option<String>)) -> Result<Self, Refusal> {
        Ok(Self {
            limit: page_limit(limit)?,
            after,
            items: BTreeMap::new(),
            seen: 0,
            has_more: false,
        })
    }

    pub(crate) fn add(&mut self, key: String, item: T) {
        if self.after.as_ref().is_some_and(|after| key <= *after) {
            return;
        }
        self.seen += 1;
        self.items.insert((key, self.seen), item);
        if self.items.len() > self.limit {
            self.items.pop_last();
            self.has_more = true;
        }
    }

    pub(crate) fn finish(self, kind: &str) -> List<T> {
        let last = self.items.last_key_value().filter(|_| self.has_more);
        let next = last.map(|((key, _), _)| key.clone());
        let mut list = List::of(kind, self.items.into_values().collect());
        list.next = next;
        list
    }
}

/// A page of a list: what follows `token`, by `key`.
pub(crate) fn page<T>(
    kind: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    wanted: (Option<usize>, Option<String>),
) -> Result<List<T>, Refusal> {
    let mut page = Page::new(wanted)?;
    for item in items {
        page.add(key(&item), item);
    }
    Ok(page.finish(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_cover_everything_once() {
        let mut seen = Vec::new();
        let mut token = None;
        loop {
            let items = vec![5, 3, 1, 4, 2];
            let list = page("N", items, ToString::to_string, (Some(2), token)).unwrap();
            seen.extend(list.items);
            token = list.next;
            if token.is_none() {
                break;
            }
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert!(page("N", vec![1], ToString::to_string, (Some(0), None)).is_err());
        assert!(page("N", vec![1], ToString::to_string, (Some(5_000), None)).is_err());
    }
}
