//! Finds the word that somebody may have meant.

/// The candidate that is most like what was typed, if any is like it at all.
pub(crate) fn nearest(typed: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(typed, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(typed.len()) / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_understood_and_nonsense_is_not() {
        let names = || ["range", "rest"].into_iter().map(str::to_owned);
        assert_eq!(nearest("rnage", names()).as_deref(), Some("range"));
        assert_eq!(nearest("zzzzzzzzzz", names()), None);
    }
}
