//! One value of a setting as it was given, read as what its key wants.

use std::str::FromStr;

use ipnet::IpNet;

use super::{network::parse_network, refusal::Refusal, setting_value::SettingValue};

/// The most networks of one list.
const NETWORK_LIMIT: usize = 1_000;

/// One key with what was given for it.
pub(super) struct Given<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a SettingValue,
}

impl Given<'_> {
    fn is_reset(&self) -> bool {
        match self.value {
            SettingValue::Nothing(()) => true,
            SettingValue::Text(text) => text.is_empty() || text == "none",
            SettingValue::Number(_) | SettingValue::List(_) | SettingValue::Object(_) => false,
        }
    }

    fn wrong(&self, text: &str) -> Refusal {
        Refusal::invalid(self.key, format!("{}: {text}", self.key))
    }

    /// One of a few names.
    pub(super) fn named<T: FromStr<Err = String>>(&self, default: T) -> Result<T, Refusal> {
        match self.value {
            _ if self.is_reset() => Ok(default),
            SettingValue::Text(text) => text.parse().map_err(|text: String| self.wrong(&text)),
            _ => Err(self.wrong("a name is expected")),
        }
    }

    pub(super) fn number(&self, most: u64, default: u64) -> Result<u64, Refusal> {
        let number = match self.value {
            _ if self.is_reset() => return Ok(default),
            SettingValue::Number(number) => Some(*number),
            SettingValue::Text(text) if text.bytes().all(|b| b.is_ascii_digit()) => {
                text.parse().ok()
            }
            _ => None,
        };
        number
            .filter(|number| *number <= most)
            .ok_or_else(|| self.wrong(&format!("a number from 0 to {most} is expected")))
    }

    pub(super) fn small(&self, most: u64, default: u32) -> Result<u32, Refusal> {
        let number = self.number(most.min(u32::MAX.into()), default.into())?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    pub(super) fn networks(&self, default: &[IpNet]) -> Result<Vec<IpNet>, Refusal> {
        let words: Vec<&str> = match self.value {
            _ if self.is_reset() => return Ok(default.to_vec()),
            SettingValue::Text(text) => text.split(',').map(str::trim).collect(),
            SettingValue::List(list) => list.iter().map(String::as_str).collect(),
            _ => return Err(self.wrong("a list of networks is expected")),
        };
        if words.len() > NETWORK_LIMIT {
            return Err(self.wrong(&format!("{NETWORK_LIMIT} networks are the most")));
        }
        let read = |word: &&str| parse_network(word).map_err(|text| self.wrong(&text));
        let mut networks = words.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        networks.sort_unstable();
        networks.dedup();
        Ok(networks)
    }

    /// What reads itself from its text.
    pub(super) fn parsed<T: FromStr<Err = String> + Clone>(
        &self,
        default: &Option<T>,
    ) -> Result<Option<T>, Refusal> {
        let text = match self.value {
            _ if self.is_reset() => return Ok(default.clone()),
            SettingValue::Text(text) => text.clone(),
            SettingValue::Number(number) => number.to_string(),
            _ => return Err(self.wrong("a text is expected")),
        };
        let parsed = text.parse().map_err(|text: String| self.wrong(&text))?;
        Ok(Some(parsed))
    }
}
