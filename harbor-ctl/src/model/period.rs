//! Periods of time as people write them: `6s`, `2h4m`, `500ms`, `3d4h`.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads `2h4m` and the like; units ms, s, m, h, d.
pub(crate) fn parse_period(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a period: write it as 30s, 5m or 2h4m");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = UNITS
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(wrong)?;
        rest = &rest[letters..];
        total = number
            .checked_mul(unit.1)
            .and_then(|n| total.checked_add(n))
            .ok_or_else(wrong)?;
    }
    Ok(Duration::from_millis(total))
}

/// The two largest units that are not zero: `3d4h`, `21h`, `12m`, `5s`.
pub(crate) fn format_age(seconds: u64) -> String {
    let parts = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut text = String::new();
    let (mut rest, mut shown) = (seconds, 0);
    for (size, name) in parts {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            text.push_str(&format!("{count}{name}"));
            shown += 1;
        } else if shown > 0 {
            break;
        }
        if shown == 2 {
            break;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_read_with_their_units() {
        for (text, millis) in [
            ("6s", 6_000),
            ("2h4m", 7_440_000),
            ("30s", 30_000),
            ("500ms", 500),
            ("1d", 86_400_000),
        ] {
            assert_eq!(
                parse_period(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in [
            "",
            "6",
            "s",
            "6x",
            "-6s",
            "6 s",
            "99999999999999999999s",
            "1.5s",
        ] {
            assert!(parse_period(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_show_two_units_at_most() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (75_600, "21h"),
            (273_600, "3d4h"),
            (720, "12m"),
        ];
        for (seconds, text) in cases {
            assert_eq!(format_age(seconds), text);
        }
        assert_eq!(format_age(86_400 + 59), "1d");
    }
}
