//! Rates and numbers as people read them.

use std::fmt::Display;

/// What stands in the place of a number that nobody knows.
const UNKNOWN: &str = "?";

/// A number, if it is known.
pub(crate) fn known(number: Option<impl Display>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |number| number.to_string())
}

/// A rate, if it is known.
pub(crate) fn rate(bits_per_second: Option<u64>) -> String {
    known(bits_per_second.map(format_rate))
}

/// `41.2 Mbit/s`; 0 is just 0.
pub(crate) fn format_rate(bits_per_second: u64) -> String {
    let units = [
        (1_000_000_000, "Gbit/s"),
        (1_000_000, "Mbit/s"),
        (1_000, "kbit/s"),
    ];
    for (size, unit) in units {
        if bits_per_second >= size {
            return format!("{:.1} {unit}", bits_per_second as f64 / size as f64);
        }
    }
    if bits_per_second == 0 {
        "0".into()
    } else {
        format!("{bits_per_second} bit/s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_as_in_the_manual() {
        assert_eq!(format_rate(41_200_000), "41.2 Mbit/s");
        assert_eq!(format_rate(0), "0");
        assert_eq!(format_rate(999), "999 bit/s");
        assert_eq!(format_rate(1_000), "1.0 kbit/s");
    }
}
