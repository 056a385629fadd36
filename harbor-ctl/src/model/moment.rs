//! Moments in RFC 3339's notation. The node's offset comes from elsewhere.

/// `2026-11-29T22:05:31+01:00`, of seconds since 1970 and of seconds that local time is ahead of UTC.
pub(crate) fn rfc3339(at: u64, ahead_s: i32) -> String {
    let local = at.cast_signed().saturating_add(ahead_s.into()).max(0);
    let (day, second) = (local / 86_400, local % 86_400);
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let zone = match ahead_s {
        0 => "Z".to_owned(),
        _ => {
            let sign = if ahead_s < 0 { '-' } else { '+' };
            let minutes = ahead_s.unsigned_abs() / 60;
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    };
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}{zone}")
}

/// Year, month and day of the month of a day since 1970, in the Gregorian calendar: counted in eras of
/// 400 years that begin with a March, so that a leap day is the last of its year.
fn civil(day: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let since_march = day + 719_468;
    let (era, of_era) = (since_march / ERA, since_march % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (at, ahead_s, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_399, 0, "2000-02-28T23:59:59Z"),
            (951_782_400, 0, "2000-02-29T00:00:00Z"),
            (1_709_164_800, 3_600, "2024-02-29T01:00:00+01:00"),
            (1_735_689_599, -12_600, "2024-12-31T20:29:59-03:30"),
            (4_107_542_400, 0, "2100-03-01T00:00:00Z"),
            (1, -60, "1970-01-01T00:00:00-00:01"),
        ] {
            assert_eq!(rfc3339(at, ahead_s), text);
        }
    }
}
