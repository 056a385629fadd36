//! Reads the values of the layers, and collects what is wrong with them.

use std::{path::PathBuf, time::Duration};

use super::{
    keys::{KEYS, find},
    problem::Problem,
    raw::Layers,
    value::{Entry, Value},
};
use crate::model::{check_name, format_age, parse_period};

/// Collects problems; a value that is wrong reads as a placeholder that never gets out.
pub(super) struct Check {
    pub(super) layers: Layers,
}

impl Check {
    /// An absolute path, or nothing.
    pub(super) fn file(&mut self, key: &str) -> Option<PathBuf> {
        match self.text(key).is_empty() {
            true => None,
            false => Some(self.path(key)),
        }
    }

    pub(super) fn choices(&mut self) {
        for key in KEYS.iter().filter(|key| !key.choices.is_empty()) {
            let text = self.text(&key.path());
            if key.choices.contains(&text.as_str()) {
                continue;
            }
            let quoted: Vec<String> = key.choices.iter().map(|c| format!("{c:?}")).collect();
            let (message, fix) = match key.lacks {
                "" => (
                    format!(
                        "{} = {text:?} is not one of {}",
                        key.path(),
                        quoted.join(", ")
                    ),
                    None,
                ),
                lacks => (
                    format!(
                        "{} = {text:?}: this version does not have {lacks}",
                        key.path()
                    ),
                    Some(format!("use {}", quoted.join(" or "))),
                ),
            };
            self.problem(&key.path(), message, fix);
        }
    }

    fn entry(&self, key: &str) -> Option<&Entry> {
        self.layers.entries.get(key)
    }

    pub(super) fn text(&self, key: &str) -> String {
        self.entry(key)
            .map(|entry| entry.value.plain())
            .unwrap_or_default()
    }

    pub(super) fn items(&self, key: &str) -> Vec<String> {
        match self.entry(key) {
            Some(Entry {
                value: Value::List(items),
                ..
            }) => items.clone(),
            _ => Vec::new(),
        }
    }

    pub(super) fn read<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
        placeholder: T,
    ) -> T {
        parse(&self.text(key)).unwrap_or_else(|message| {
            self.problem(key, format!("{key}: {message}"), None);
            placeholder
        })
    }

    pub(super) fn period(&mut self, key: &str, least: Duration) -> Duration {
        self.period_within(key, least, Duration::from_secs(30 * 86_400))
    }

    pub(super) fn period_within(&mut self, key: &str, least: Duration, most: Duration) -> Duration {
        let shown = |period: Duration| format_age(period.as_secs());
        let parse = |text: &str| match parse_period(text)? {
            period if period < least => Err(format!(
                "{text} is too short: {} is the least",
                shown(least)
            )),
            period if period > most => {
                Err(format!("{text} is too long: {} is the most", shown(most)))
            }
            period => Ok(period),
        };
        self.read(key, parse, Duration::ZERO)
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&mut self, key: &str) -> bool {
        matches!(
            self.entry(key),
            Some(Entry {
                value: Value::Bool(true),
                ..
            })
        )
    }

    /// A number within the bounds of its key.
    pub(super) fn number(&mut self, key: &str) -> i64 {
        let bounds = find(key).and_then(|key| key.bounds);
        let (least, most) = bounds.unwrap_or((0, i64::MAX));
        let number = match self.entry(key) {
            Some(Entry {
                value: Value::Number(number),
                ..
            }) => *number,
            _ => least,
        };
        if !(least..=most).contains(&number) {
            let message = format!("{key} = {number}: {least} to {most} is allowed");
            self.problem(key, message, None);
        }
        number.clamp(least, most)
    }

    /// By the rule for names; the last part of the key is what it is called.
    pub(super) fn name(&mut self, key: &str) -> String {
        let called = key.rsplit('.').next().unwrap_or(key);
        let parse = |text: &str| match check_name(called, text) {
            Ok(()) => Ok(text.to_owned()),
            Err(refusal) => Err(refusal.description),
        };
        self.read(key, parse, String::new())
    }

    pub(super) fn path(&mut self, key: &str) -> PathBuf {
        let parse = |text: &str| match text.starts_with('/') && !text.contains('\0') {
            true => Ok(PathBuf::from(text)),
            false => Err(format!("{text:?} is not an absolute path")),
        };
        self.read(key, parse, PathBuf::new())
    }

    pub(super) fn list<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for item in self.items(key) {
            match parse(&item) {
                Ok(value) => values.push(value),
                Err(message) => self.problem(key, format!("{key}: {message}"), None),
            }
        }
        values
    }

    /// `["auto"]` reads as the empty list.
    pub(super) fn list_or_auto<T>(
        &mut self,
        key: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let items = self.items(key);
        if items == ["auto"] {
            return Vec::new();
        }
        if items.is_empty() || items.iter().any(|item| item == "auto") {
            let message = format!("{key}: write [\"auto\"], or name them one by one");
            self.problem(key, message, None);
            return Vec::new();
        }
        self.list(key, parse)
    }

    pub(super) fn problem(&mut self, key: &str, message: String, fix: Option<String>) {
        let place = self
            .entry(key)
            .map(|entry| entry.origin.to_string())
            .unwrap_or_default();
        self.layers.problems.push(Problem {
            place,
            message,
            fix,
        });
    }
}
