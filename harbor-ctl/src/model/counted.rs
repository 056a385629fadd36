//! Nouns that agree with a number: "1 port", "2 ports".

use std::fmt::Display;

/// `1 port`, `2 ports`; of words that take an `s`.
pub(crate) fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    match is_one(&count) {
        true => format!("1 {noun}"),
        false => format!("{count} {noun}s"),
    }
}

/// The verb for so many.
pub(crate) fn are<N: PartialEq + From<u8>>(count: &N) -> &'static str {
    match is_one(count) {
        true => "is",
        false => "are",
    }
}

fn is_one<N: PartialEq + From<u8>>(count: &N) -> bool {
    *count == N::from(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "port"), "1 port");
        assert_eq!(counted(0_u64, "port"), "0 ports");
        assert_eq!(counted(12_usize, "app host"), "12 app hosts");
        assert_eq!((are(&1_u64), are(&2_u64)), ("is", "are"));
    }
}
