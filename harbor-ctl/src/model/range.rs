//! A range of port numbers, both ends included.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Port numbers from `start` to `end`, both included; never empty, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct PortRange {
    start: u16,
    end: u16,
}

impl PortRange {
    pub(crate) fn new(start: u16, end: u16) -> Result<Self, String> {
        if start == 0 {
            return Err("a port range starts at 1 or above".into());
        }
        if start > end {
            return Err(format!("the range {start}-{end} ends before it starts"));
        }
        Ok(Self { start, end })
    }

    pub(crate) fn start(self) -> u16 {
        self.start
    }

    pub(crate) fn end(self) -> u16 {
        self.end
    }

    pub(crate) fn contains(self, port: u16) -> bool {
        (self.start..=self.end).contains(&port)
    }

    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// How many numbers it holds.
    pub(crate) fn len(self) -> usize {
        usize::from(self.end - self.start) + 1
    }

    pub(crate) fn numbers(self) -> std::ops::RangeInclusive<u16> {
        self.start..=self.end
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = || format!("{text:?} is not a port range: write it as 35000-40000");
        let (start, end) = text.split_once('-').ok_or_else(shape)?;
        let number = |part: &str| {
            let part = part.trim();
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits {
                part.parse::<u16>().ok()
            } else {
                None
            }
        };
        Self::new(
            number(start).ok_or_else(shape)?,
            number(end).ok_or_else(shape)?,
        )
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PortRange> for String {
    fn from(range: PortRange) -> Self {
        range.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_operators_write_them() {
        let range: PortRange = "35000-40000".parse().unwrap();
        assert_eq!(range.len(), 5001);
        assert!(range.contains(35000) && range.contains(40000) && !range.contains(40001));
        assert_eq!(range.to_string(), "35000-40000");
        assert_eq!("7-7".parse::<PortRange>().unwrap().len(), 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "35000",
            "40000-35000",
            "0-10",
            "1-65536",
            "a-b",
            "-1-5",
            "+1-5",
            "1--5",
        ] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn overlap_counts_both_ends() {
        let of = |a, b| PortRange::new(a, b).unwrap();
        assert!(of(1, 5).overlaps(of(5, 9)));
        assert!(!of(1, 4).overlaps(of(5, 9)));
    }
}
