//! Lists as people read them.

/// Words with commas between them.
pub(super) fn list<T: ToString>(items: &[T]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    words.join(", ")
}

/// The first of many.
pub(super) fn some<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 20;
    match items.len().checked_sub(SHOWN) {
        None | Some(0) => list(items),
        Some(more) => format!("{} and {more} more", list(&items[..SHOWN])),
    }
}
