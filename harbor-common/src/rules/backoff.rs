//! How long new flows avoid a backend that has failed: longer with every failure in a row.

use super::bucket::SECOND_NS;

/// The first time.
pub const FIRST_NS: u64 = 2 * SECOND_NS;
/// The longest time.
pub const LONGEST_NS: u64 = 60 * SECOND_NS;
/// Failures in a row that still make it longer: 2 s doubled this often exceeds a minute.
pub const FAILURES: u32 = 5;

/// How long to avoid a backend that fails now, after this many failures in a row.
#[inline(always)]
pub const fn length_ns(failures: u32) -> u64 {
    let doubled = FIRST_NS << counted(failures);
    if doubled > LONGEST_NS {
        LONGEST_NS
    } else {
        doubled
    }
}

/// The number of failures in a row, one more than before.
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
