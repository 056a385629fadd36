//! Sets of port numbers as the kernel writes them: `8080,9148,35000-40000`.

use std::{collections::BTreeSet, fmt, ops::RangeInclusive, str::FromStr};

/// Port numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PortSet(BTreeSet<u16>);

impl PortSet {
    pub(crate) fn add(&mut self, numbers: RangeInclusive<u16>) {
        self.0.extend(numbers);
    }

    /// What is in both.
    pub(crate) fn common(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).copied().collect())
    }

    /// What is in either.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).copied().collect())
    }

    /// What is in this one alone.
    pub(crate) fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut numbers = self.0.iter().copied().peekable();
        let mut comma = "";
        while let Some(first) = numbers.next() {
            let mut last = first;
            while let Some(next) = numbers.next_if(|next| last.checked_add(1) == Some(*next)) {
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
        assert_eq!(a.with(&b), set("1-15"));
        assert_eq!(a.without(&b), set("1-4"));
        assert_eq!(a.common(&b), set("5-10"));
    }
}
