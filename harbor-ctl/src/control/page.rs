//! Cuts lists into pages: at most `limit` items, and a token for the rest.
//!
//! The token is the key of the page's last item, so items that come or go in between neither
//! repeat nor hide others.

use super::wire::List;
use crate::model::Refusal;

/// Used when no limit is given, and the most that may be asked for.
pub(crate) const PAGE_LIMIT: usize = 1_000;

/// Sorts by `key` and answers the items after `token`.
pub(crate) fn page<T>(
    kind: &str,
    items: Vec<T>,
    key: impl Fn(&T) -> String,
    (limit, token): (Option<usize>, Option<String>),
) -> Result<List<T>, Refusal> {
    let limit = limit.unwrap_or(PAGE_LIMIT);
    if !(1..=PAGE_LIMIT).contains(&limit) {
        let text = format!("limit = {limit}: 1 to {PAGE_LIMIT} is allowed");
        return Err(Refusal::invalid("limit", text));
    }
    let mut keyed: Vec<(String, T)> = items.into_iter().map(|item| (key(&item), item)).collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(token) = token {
        keyed.retain(|(key, _)| *key > token);
    }
    let more = keyed.len() > limit;
    keyed.truncate(limit);
    let next = keyed.last().filter(|_| more).map(|(key, _)| key.clone());
    let mut list = List::of(kind, keyed.into_iter().map(|(_, item)| item).collect());
    list.next = next;
    Ok(list)
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
