//! For how long a backend is left out that has failed: longer with every failure in a row.

use super::bucket::SECOND_NS;

/// How long the first time lasts.
pub const FIRST_NS: u64 = 2 * SECOND_NS;
/// No time is longer.
pub const LONGEST_NS: u64 = 60 * SECOND_NS;
/// Failures in a row that still count: 2 s doubled so often exceeds a minute.
pub const FAILURES: u32 = 5;

/// For how long a backend is left out that fails now and has failed so often in a row before.
#[inline(always)]
pub const fn length_ns(failures: u32) -> u64 {
    let doubled = FIRST_NS << counted(failures);
    if doubled > LONGEST_NS {
        LONGEST_NS
    } else {
        doubled
    }
}

/// The failures in a row with this one, where there were so many before.
#[inline(always)]
pub const fn next(failures: u32) -> u32 {
    counted(failures) + 1
}

#[inline(always)]
const fn counted(failures: u32) -> u32 {
    if failures > FAILURES {
        FAILURES
    } else {
        failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_begins_with_two_seconds_and_doubles_up_to_a_minute() {
        let mut failures = 0;
        let lengths = [(); 8].map(|()| {
            let length = length_ns(failures) / SECOND_NS;
            failures = next(failures);
            length
        });
        assert_eq!(lengths, [2, 4, 8, 16, 32, 60, 60, 60]);
    }

    proptest! {
        #[test]
        fn no_count_makes_it_shorter_or_longer_than_it_may_be(failures: u32) {
            prop_assert!((FIRST_NS..=LONGEST_NS).contains(&length_ns(failures)));
            prop_assert!(length_ns(next(failures)) >= length_ns(failures));
        }
    }
}
