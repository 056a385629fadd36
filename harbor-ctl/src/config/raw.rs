//! Reads the layers as they were written: files, environment, flags. Later layers win.
//!
//! Walks the parsed document by hand instead of deserialising it: only so every error is found at
//! once, and every value keeps its line and column.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    keys::{self, KEYS, Key, Kind},
    problem::Problem,
    value::{Entry, Origin, Value},
};
use crate::model::nearest;

/// All entries by `section.name`, with what is wrong so far.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    pub(crate) entries: BTreeMap<String, Entry>,
    pub(crate) problems: Vec<Problem>,
}

impl Layers {
    /// Adds every default.
    pub(crate) fn add_defaults(&mut self) {
        for key in KEYS {
            let mut defaults = Self::default();
            let text = format!("[{}]\n{} = {}\n", key.section, key.name, key.default);
            defaults.add_file(Path::new("default"), &text);
            for (name, mut entry) in defaults.entries {
                entry.origin = Origin::Default;
                self.entries.insert(name, entry);
            }
        }
    }

    /// Adds one file's text.
    pub(crate) fn add_file(&mut self, path: &Path, text: &str) {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let offset = error.span().map_or(0, |span| span.start);
            let message = error.message().trim().replace('\n', ", ");
            let place = Place { path, text }.at(offset).to_string();
            self.problems.push(Problem {
                place,
                message,
                fix: None,
            });
        }
        if !errors.is_empty() {
            return;
        }
        for (section, value) in document.get_ref() {
            self.add_section(Place { path, text }, section, value);
        }
    }

    fn add_section(
        &mut self,
        place: Place<'_>,
        section: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = section.get_ref().as_ref();
        let origin = place.at(section.span().start);
        if !keys::is_section(name) {
            self.problems.push(unknown_section(&origin, name));
            return;
        }
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("{name} is a section: write it as [{name}]");
            self.problem(&origin, message, None);
            return;
        };
        for (key, value) in table {
            let origin = place.at(key.span().start);
            let Some(key) = find_in(name, key.get_ref()) else {
                self.problems
                    .push(unknown_key(&origin, name, key.get_ref()));
                continue;
            };
            match typed(key, value.get_ref()) {
                Ok(typed) => {
                    let origin = place.at(value.span().start);
                    self.entries.insert(
                        key.path(),
                        Entry {
                            value: typed,
                            origin,
                        },
                    );
                }
                Err(message) => self.problem(&place.at(value.span().start), message, None),
            }
        }
    }

    /// Adds `HARBOR_SECTION__KEY` variables; others are not ours.
    pub(crate) fn add_environment(&mut self, variables: &[(String, String)]) {
        for (variable, words) in variables {
            let Some(rest) = variable.strip_prefix("HARBOR_") else {
                continue;
            };
            let Some((section, name)) = rest.split_once("__") else {
                continue;
            };
            let origin = Origin::Environment(variable.clone());
            self.add_words(&section.to_lowercase(), &name.to_lowercase(), words, origin);
        }
    }

    /// Adds a `--set SECTION.KEY=VALUE` flag.
    pub(crate) fn add_flag(&mut self, flag: &str) {
        let origin = Origin::Flag(format!("--set {flag}"));
        match flag
            .split_once('=')
            .and_then(|(key, words)| Some((key.split_once('.')?, words)))
        {
            Some(((section, name), words)) => self.add_words(section, name, words, origin),
            None => self.problem(&origin, "write it as --set SECTION.KEY=VALUE".into(), None),
        }
    }

    fn add_words(&mut self, section: &str, name: &str, words: &str, origin: Origin) {
        if !keys::is_section(section) {
            self.problems.push(unknown_section(&origin, section));
            return;
        }
        let Some(key) = find_in(section, name) else {
            self.problems.push(unknown_key(&origin, section, name));
            return;
        };
        match Value::from_words(key, words) {
            Ok(value) => {
                self.entries.insert(key.path(), Entry { value, origin });
            }
            Err(message) => self.problem(&origin, message, None),
        }
    }

    fn problem(&mut self, origin: &Origin, message: String, fix: Option<String>) {
        self.problems.push(Problem {
            place: origin.to_string(),
            message,
            fix,
        });
    }
}

/// A file, for turning byte offsets into lines and columns.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Place<'_> {
    fn at(self, offset: usize) -> Origin {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        Origin::File {
            path: PathBuf::from(self.path),
            line,
            column,
        }
    }
}

fn find_in(section: &str, name: &str) -> Option<&'static Key> {
    KEYS.iter()
        .find(|key| key.section == section && key.name == name)
}

fn typed(key: &Key, value: &DeValue<'_>) -> Result<Value, String> {
    let wrong = |expected: &str| {
        Err(format!(
            "{} is a {}: {expected} is expected",
            key.path(),
            value.type_str()
        ))
    };
    match key.kind {
        Kind::Text => match value {
            DeValue::String(text) => Ok(Value::Text(text.to_string())),
            _ => wrong("a string in quotes"),
        },
        Kind::Number => match value {
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                i64::from_str_radix(digits.trim_start_matches('+'), number.radix())
                    .map(Value::Number)
                    .map_err(|_| format!("{} = {number}: the number is too large", key.path()))
            }
            _ => wrong("a whole number"),
        },
        Kind::Bool => match value {
            DeValue::Boolean(is_on) => Ok(Value::Bool(*is_on)),
            _ => wrong("true or false"),
        },
        Kind::List => {
            let DeValue::Array(items) = value else {
                return wrong("a list of strings");
            };
            let texts = items.iter().map(|item| match item.get_ref() {
                DeValue::String(text) => Ok(text.to_string()),
                other => Err(format!(
                    "{} holds a {}: a list of strings is expected",
                    key.path(),
                    other.type_str()
                )),
            });
            texts.collect::<Result<_, _>>().map(Value::List)
        }
    }
}

fn unknown_section(origin: &Origin, name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let mut sections: Vec<String> = KEYS.iter().map(|key| key.section.to_owned()).collect();
    sections.dedup();
    let fix = match nearest(&name, sections.iter().cloned()) {
        Some(near) => format!("did you mean [{near}]?"),
        None => format!("valid sections: {}", sections.join(", ")),
    };
    let message = format!("unknown section [{}]", name.escape_debug());
    Problem {
        place: origin.to_string(),
        message,
        fix: Some(fix),
    }
}

fn unknown_key(origin: &Origin, section: &str, name: &str) -> Problem {
    let name: String = name.chars().take(64).collect();
    let names = || {
        KEYS.iter()
            .filter(|key| key.section == section)
            .map(|key| key.name.to_owned())
    };
    let valid = names().collect::<Vec<_>>().join(", ");
    let fix = match nearest(&name, names()) {
        Some(near) => format!("did you mean {near}? valid keys of [{section}]: {valid}"),
        None => format!("valid keys of [{section}]: {valid}"),
    };
    let message = format!("unknown key {} in [{section}]", name.escape_debug());
    Problem {
        place: origin.to_string(),
        message,
        fix: Some(fix),
    }
}
