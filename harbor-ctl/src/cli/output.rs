//! Prints data: tables for people, JSON and YAML for scripts, names for pipes.

use std::io::{IsTerminal, Write};

use serde::Serialize;

use super::{
    failure::Failure,
    globals::{Color, Format, Globals},
    listing::Listing,
    table, yaml,
};
use crate::api::List;

/// Something that is shown as one line of a table.
pub(super) trait Row {
    /// None: it has no columns, and is the line that [`Row::name`] says.
    const HEADINGS: &'static [&'static str];
    /// Headings of what only `-o wide` adds.
    const WIDE: &'static [&'static str] = &[];
    /// The heading whose cells are states, for colour.
    const STATE: Option<&'static str> = None;

    fn cells(&self) -> Vec<String>;

    fn wide_cells(&self) -> Vec<String> {
        Vec::new()
    }

    /// What `-o name` prints.
    fn name(&self) -> String;
}

/// The chosen way to print.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    format: Format,
    has_headings: bool,
    has_color: bool,
}

impl Output {
    pub(super) fn new(globals: &Globals) -> Self {
        let has_color = match globals.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !refused && std::io::stdout().is_terminal()
            }
        };
        Self {
            format: globals.output,
            has_headings: !globals.no_headers,
            has_color,
        }
    }

    pub(super) fn format(self) -> Format {
        self.format
    }

    /// Begins a list that is printed while it is read; so many rows of a table line up.
    pub(super) fn listing<T: Row + Serialize>(self, kind: &'static str, rows: usize) -> Listing<T> {
        Listing::begin(self, kind, rows)
    }

    /// Rows without headings, whatever was asked for.
    pub(super) fn rows<T: Row>(self, items: &[T]) -> String {
        let has_headings = false;
        Self {
            has_headings,
            ..self
        }
        .table(items)
    }

    pub(super) fn is_for_people(self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Prints a list.
    pub(super) fn list<T: Row + Serialize>(self, list: &List<T>) -> Result<(), Failure> {
        if let Some(warning) = &list.warning {
            warn(warning);
        }
        match self.format {
            Format::Json | Format::Yaml => self.data(list),
            Format::Name => print(
                &list
                    .items
                    .iter()
                    .map(|item| item.name() + "\n")
                    .collect::<String>(),
            ),
            Format::Table | Format::Wide => print(&self.table(&list.items)),
        }
    }

    /// Prints one thing; people see it as a table of one line.
    pub(super) fn item<T: Row + Serialize>(self, item: &T) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => self.data(item),
            Format::Name => print(&(item.name() + "\n")),
            Format::Table | Format::Wide => print(&self.table(std::slice::from_ref(item))),
        }
    }

    /// Prints one thing that people see as text.
    pub(super) fn text(self, text: &str, item: &impl Serialize) -> Result<(), Failure> {
        match self.format {
            Format::Json | Format::Yaml => self.data(item),
            Format::Table | Format::Wide | Format::Name => print(text),
        }
    }

    /// Prints what only scripts read.
    pub(super) fn document(self, value: &impl Serialize) -> Result<(), Failure> {
        self.data(value)
    }

    pub(super) fn table<T: Row>(self, items: &[T]) -> String {
        let is_wide = self.format == Format::Wide;
        let mut headings = T::HEADINGS.to_vec();
        if is_wide {
            headings.extend(T::WIDE);
        }
        let row = |item: &T| {
            let mut cells = item.cells();
            if is_wide {
                cells.extend(item.wide_cells());
            }
            cells
        };
        let rows: Vec<Vec<String>> = items.iter().map(row).collect();
        let state = T::STATE.filter(|_| self.has_color);
        table::render(&headings, &rows, self.has_headings, state)
    }

    fn data(self, value: &impl Serialize) -> Result<(), Failure> {
        let value = serde_json::to_value(value).map_err(|e| Failure::failed(e.to_string()))?;
        match self.format {
            Format::Yaml => print(&yaml::render(&value)),
            _ => {
                let text = serde_json::to_string_pretty(&value);
                print(&(text.map_err(|e| Failure::failed(e.to_string()))? + "\n"))
            }
        }
    }
}

/// Says on standard error what does not keep the command from doing its work.
pub(super) fn warn(text: &str) {
    say(&format!("warning: {}\n", crate::model::escaped(text)));
}

/// Writes all of it, or fails: a full disk behind a redirection must not look like success.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::failed(format!("stdout: {error}")))
}
/// Words for people. Nobody can be told that they cannot be told: the exit code stands.
pub(super) fn say(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}
