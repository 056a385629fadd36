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

/// Seconds since 1970 of a moment in that notation; fractions of a second do not count.
pub(crate) fn from_rfc3339(text: &str) -> Option<u64> {
    let (date, rest) = text.split_once(['T', 't', ' '])?;
    let zone = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone);
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    // A leap second is the last of its minute.
    let is_time = hour < 24 && minute < 60 && second <= 60 && is_digits;
    let day_of_era = since_1970(year, month, day);
    if !is_time || civil(day_of_era.max(0)) != (year, month, day) {
        return None;
    }
    let ahead = match zone {
        "Z" | "z" => 0,
        _ => {
            let [hours, minutes] = numbers(&zone[1..], ':', [2, 2])?;
            let ahead = (hours < 24 && minutes < 60).then_some(hours * 3_600 + minutes * 60)?;
            if zone.starts_with('-') { -ahead } else { ahead }
        }
    };
    let at = day_of_era * 86_400 + hour * 3_600 + minute * 60 + second.min(59) - ahead;
    u64::try_from(at).ok()
}

/// So many numbers of so many digits each.
fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut found = [0; N];
    let mut parts = text.split(between);
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|b| b.is_ascii_digit());
        *number = is_number.then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(found)
}

/// The day since 1970 of a date: the inverse of [`civil`].
fn since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
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
            // What would be before 1970 was written as its beginning.
            if at != 1 {
                assert_eq!(from_rfc3339(text), Some(at), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        let at = 1_709_164_800;
        for text in ["2024-02-29t00:00:00.123z", "2024-02-28 23:59:60-00:00"] {
            let found = from_rfc3339(text).unwrap();
            assert!(at - found <= 1, "{text}");
        }
        for wrong in [
            "",
            "2024-02-29",
            "2024-02-29T00:00:00",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00Z",
            "24-01-01T00:00:00Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00.Z",
            "1969-12-31T23:59:59Z",
            "2024-01-01T00:00:00Zulu",
        ] {
            assert_eq!(from_rfc3339(wrong), None, "{wrong}");
        }
    }
}
