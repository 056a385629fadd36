//! Prints a long list while it is being read, so that the first lines appear at once.

use serde::Serialize;

use super::{
    failure::Failure,
    globals::Format,
    output::{Output, Row, print},
    yaml,
};
use crate::api::API_VERSION;

/// What of a list was not printed yet.
#[derive(Debug)]
pub(super) struct Listing<T> {
    output: Output,
    kind: &'static str,
    /// How many rows of a table line up.
    rows: usize,
    waiting: Vec<T>,
    is_begun: bool,
}

impl<T: Row + Serialize> Listing<T> {
    /// Nothing is printed before there is something to print, or it is known that there is nothing.
    pub(super) fn begin(output: Output, kind: &'static str, rows: usize) -> Self {
        Self {
            output,
            kind,
            rows,
            waiting: Vec::new(),
            is_begun: false,
        }
    }

    pub(super) fn add(&mut self, item: T) -> Result<(), Failure> {
        self.waiting.push(item);
        match self.waiting.len() < self.rows {
            true => Ok(()),
            false => self.print(),
        }
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        if !self.waiting.is_empty() || !self.is_begun {
            self.print()?;
        }
        let is_empty = !self.is_begun;
        match self.output.format() {
            Format::Json if is_empty => print("]\n}\n"),
            Format::Json => print("\n  ]\n}\n"),
            Format::Yaml if is_empty => print(" []\n"),
            _ => Ok(()),
        }
    }

    fn print(&mut self) -> Result<(), Failure> {
        let items = std::mem::take(&mut self.waiting);
        let text = match self.output.format() {
            Format::Table | Format::Wide if T::HEADINGS.is_empty() => lines(&items),
            Format::Table | Format::Wide if self.is_begun => self.output.rows(&items),
            Format::Table | Format::Wide => self.output.table(&items),
            Format::Name => lines(&items),
            Format::Json => self.json(&items)?,
            Format::Yaml => self.yaml(&items)?,
        };
        let head = match self.is_begun {
            true => String::new(),
            false => self.head(),
        };
        self.is_begun |= !items.is_empty();
        print(&(head + &text))
    }

    fn head(&self) -> String {
        let kind = self.kind;
        match self.output.format() {
            Format::Json => format!(
                "{{\n  \"api_version\": \"{API_VERSION}\",\n  \"kind\": \"{kind}\",\n  \"items\": ["
            ),
            Format::Yaml => format!("api_version: \"{API_VERSION}\"\nkind: \"{kind}\"\nitems:"),
            Format::Table | Format::Wide | Format::Name => String::new(),
        }
    }

    /// As a whole document has them.
    fn json(&self, items: &[T]) -> Result<String, Failure> {
        let mut text = String::new();
        for (index, item) in items.iter().enumerate() {
            let separator = if self.is_begun || index > 0 { "," } else { "" };
            let item = serde_json::to_string_pretty(item);
            let item = item.map_err(|error| Failure::failed(error.to_string()))?;
            text.push_str(&format!(
                "{separator}\n    {}",
                item.replace('\n', "\n    ")
            ));
        }
        Ok(text)
    }

    fn yaml(&self, items: &[T]) -> Result<String, Failure> {
        if items.is_empty() {
            return Ok(String::new());
        }
        let value = serde_json::to_value(items);
        let value = value.map_err(|error| Failure::failed(error.to_string()))?;
        let text = yaml::render(&value);
        let begin = if self.is_begun { "" } else { "\n" };
        Ok(format!("{begin}{text}"))
    }
}

fn lines<T: Row>(items: &[T]) -> String {
    items.iter().map(|item| item.name() + "\n").collect()
}
