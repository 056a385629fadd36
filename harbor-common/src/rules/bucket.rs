//! How much may pass in a second: the generic cell rate algorithm (ITU-T I.371).
//!
//! One word says when everything taken so far will have been paid off. A second's worth may be taken at
//! once. What costs more than that passes when the bucket is full, and has to be paid off in full too:
//! over a long time, no more passes than was granted.

/// Nanoseconds in a second, which is also what a full bucket holds.
pub const SECOND_NS: u64 = 1_000_000_000;

/// How long it takes to pay off `amount`, in nanoseconds; 0 if there is no limit.
#[inline(always)]
pub const fn cost(amount: u32, per_second: u64) -> u64 {
    match (amount as u64 * SECOND_NS).checked_div(per_second) {
        Some(cost) => cost,
        None => 0,
    }
}

/// The word after something of this cost was taken; `None` = the bucket does not hold that much.
#[inline(always)]
pub const fn take(until: u64, cost: u64, now: u64) -> Option<u64> {
    let needed = if cost > SECOND_NS { SECOND_NS } else { cost };
    if until.saturating_sub(now) > SECOND_NS - needed {
        None
    } else {
        Some(charge(until, cost, now))
    }
}

/// The word after something of this cost that has passed already.
#[inline(always)]
pub const fn charge(until: u64, cost: u64, now: u64) -> u64 {
    let start = if until > now { until } else { now };
    start.saturating_add(cost)
}

/// How long until something may pass again, in nanoseconds; 0 = now.
#[inline(always)]
pub const fn wait(until: u64, now: u64) -> u64 {
    until.saturating_sub(now).saturating_sub(SECOND_NS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_seconds_worth_may_be_taken_at_once_and_then_what_has_been_worked_off() {
        let (mut until, now, one) = (0, 5 * SECOND_NS, cost(1, 10));
        let mut taken = 0;
        while let Some(next) = take(until, one, now) {
            (until, taken) = (next, taken + 1);
        }
        assert_eq!(taken, 10);
        assert_eq!(take(until, one, now + SECOND_NS / 11), None);
        assert!(take(until, one, now + SECOND_NS / 10).is_some());
        assert_eq!(wait(charge(until, cost(10, 10), now), now), SECOND_NS);
    }

    #[test]
    fn what_is_dearer_than_a_second_passes_a_full_bucket_and_is_worked_off_in_full() {
        let (now, dear) = (5 * SECOND_NS, cost(4_000, 1_000));
        let until = take(0, dear, now).unwrap();
        assert_eq!(until, now + 4 * SECOND_NS);
        assert_eq!(take(until, dear, until - 1), None);
        assert!(take(until, dear, until).is_some());
    }

    #[test]
    fn what_is_not_limited_costs_nothing() {
        assert_eq!(cost(u32::MAX, 0), 0);
        assert_eq!(take(0, 0, 7), Some(7));
    }

    proptest! {
        #[test]
        fn no_more_passes_than_is_granted_and_one_packet(
            per_second in 1_u64..100_000,
            packets in prop::collection::vec((1_u32..3_000, 0_u64..3 * SECOND_NS), 1..200),
        ) {
            let (begun, mut now, mut until, mut passed) = (SECOND_NS, SECOND_NS, 0, 0);
            for (amount, pause) in packets {
                now += pause;
                if let Some(next) = take(until, cost(amount, per_second), now) {
                    passed += u64::from(amount);
                    until = next;
                    let granted = u128::from(now - begun + SECOND_NS) * u128::from(per_second);
                    let most = (granted / u128::from(SECOND_NS)) as u64 + 200 + u64::from(amount);
                    prop_assert!(passed <= most, "{passed} of {most}");
                }
            }
        }

        #[test]
        fn whoever_waits_long_enough_gets_what_costs_at_most_a_second(
            amount in 1_u32..1_000,
            spent in prop::collection::vec(0_u32..5_000, 0..20),
        ) {
            let now = 9 * SECOND_NS;
            let until = spent.iter().fold(0, |until, amount| charge(until, cost(*amount, 1_000), now));
            let later = now + wait(until, now) + SECOND_NS;
            prop_assert!(take(until, cost(amount, 1_000), later).is_some());
        }

        #[test]
        fn no_numbers_break_it(until: u64, amount: u32, per_second: u64, now: u64) {
            let cost = cost(amount, per_second);
            if let Some(next) = take(until, cost, now) {
                prop_assert!(next >= now);
            }
            prop_assert!(charge(until, cost, now) >= until);
        }
    }
}
