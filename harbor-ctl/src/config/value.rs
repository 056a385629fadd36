//! A configuration value as written, and where it was written.

use std::{fmt, path::PathBuf};

use super::keys::{Key, Kind};

/// A value as written, of the right kind but not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(i64),
    Bool(bool),
    List(Vec<String>),
}

impl Value {
    /// Reads what was typed on the command line or stands in the environment.
    pub(crate) fn from_words(key: &Key, words: &str) -> Result<Self, String> {
        match key.kind {
            Kind::Text => Ok(Self::Text(words.to_owned())),
            Kind::Number => words
                .trim()
                .parse()
                .map(Self::Number)
                .map_err(|_| format!("{} = {words:?}: a whole number is expected", key.path())),
            Kind::Bool => words
                .trim()
                .parse()
                .map(Self::Bool)
                .map_err(|_| format!("{} = {words:?}: true or false is expected", key.path())),
            Kind::List => {
                let trimmed = words.trim().trim_start_matches('[').trim_end_matches(']');
                let items = trimmed.split(',').map(|item| item.trim().trim_matches('"'));
                Ok(Self::List(
                    items.filter(|i| !i.is_empty()).map(str::to_owned).collect(),
                ))
            }
        }
    }

    /// The value without quotes, lists separated by commas: what `config get` prints.
    pub(crate) fn plain(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string(),
            Self::Bool(is_on) => is_on.to_string(),
            Self::List(items) => items.join(","),
        }
    }
}

impl fmt::Display for Value {
    /// As TOML.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        match self {
            Self::Text(text) => f.write_str(&quoted(text)),
            Self::Number(number) => write!(f, "{number}"),
            Self::Bool(is_on) => write!(f, "{is_on}"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
                write!(f, "[{}]", items.join(", "))
            }
        }
    }
}

/// Who said a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    Environment(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value and who said it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}
