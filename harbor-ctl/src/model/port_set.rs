//! Sets of port numbers as the kernel writes them: `8080,9148,35000-40000`.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use fixedbitset::FixedBitSet;

/// Port numbers, one bit each: half of them are reserved on many hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortSet(FixedBitSet);

impl Default for PortSet {
    fn default() -> Self {
        Self(FixedBitSet::with_capacity(1 << 16))
    }
}

impl PortSet {
    pub(crate) fn add(&mut self, numbers: RangeInclusive<u16>) {
        let (first, last) = numbers.into_inner();
        if first <= last {
            self.0
                .insert_range(usize::from(first)..usize::from(last) + 1);
        }
    }

    /// What is in both.
    pub(crate) fn common(mut self, other: &Self) -> Self {
        self.0.intersect_with(&other.0);
        self
    }

    /// What is in either.
    pub(crate) fn with(mut self, other: &Self) -> Self {
        self.0.union_with(&other.0);
        self
    }

    /// What is in this one alone.
    pub(crate) fn without(mut self, other: &Self) -> Self {
        self.0.difference_with(&other.0);
        self
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.ones().peekable();
        let mut comma = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| last + 1 == *next) {
                last = next;
            }
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
            comma = ",";
        }
        Ok(())
    }
}

impl FromStr for PortSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut set = Self::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.parse::<u16>();
            match (number(first), number(last)) {
                (Ok(first), Ok(last)) if first <= last => set.add(first..=last),
                _ => return Err(format!("{part:?} is not a port or a range of ports")),
            }
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> PortSet {
        text.parse().unwrap()
    }

    #[test]
    fn sets_are_read_and_written_as_the_kernel_does() {
        for text in ["", "8080", "8080,9148", "1-3,5,65534-65535"] {
            assert_eq!(set(text).to_string(), text);
        }
        assert_eq!(set("3,1,2\n").to_string(), "1-3");
        for text in ["a", "1-", "5-3", "65536", "-1"] {
            assert!(text.parse::<PortSet>().is_err(), "{text}");
        }
    }

    #[test]
    fn sets_are_joined_and_taken_apart() {
        let (a, b) = (set("1-10"), set("5-15"));
        assert_eq!(a.clone().with(&b), set("1-15"));
        assert_eq!(a.clone().without(&b), set("1-4"));
        assert_eq!(a.common(&b), set("5-10"));
    }
}
