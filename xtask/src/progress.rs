//! How far something is that takes long: on a terminal only, below what is printed. In a pipe nothing of
//! it is seen.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// How often it is drawn while nothing happens.
const TICK: Duration = Duration::from_millis(250);

/// A bar that is gone with this guard.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Of something whose length is not known yet.
    pub(crate) fn of(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        style(&bar, "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(TICK);
        Self(bar)
    }

    /// Of so many steps.
    pub(crate) fn steps(count: u64) -> Self {
        let progress = Self::of("");
        progress.is_so_long(count);
        progress
    }

    /// From now on it is known how many there are.
    fn is_so_long(&self, count: u64) {
        self.0.set_length(count);
        style(
            &self.0,
            "{spinner} [{bar:30}] {pos} of {len} {msg} {elapsed}",
        );
    }

    /// The next step begins.
    pub(crate) fn step(&self, what: &str) {
        if !self.0.message().is_empty() {
            self.0.inc(1);
        }
        self.0.set_message(what.to_owned());
    }

    /// Prints a line of a test program, and counts the tests of which it tells.
    pub(crate) fn line(&self, line: &str) {
        match told(line) {
            Some(Told::Begins(count)) => self.is_so_long(count),
            Some(Told::Ended) => self.0.inc(1),
            None => {}
        }
        self.print(line);
    }

    /// Prints a line above the bar.
    #[expect(clippy::print_stdout, reason = "the line is whoever called it's")]
    pub(crate) fn print(&self, line: &str) {
        self.0.suspend(|| println!("{line}"));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn style(bar: &ProgressBar, template: &str) {
    // One that is not understood leaves the usual one.
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// What a test program's line says of how far it is.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// It runs so many tests.
    Begins(u64),
    /// One of them has ended.
    Ended,
}

fn told(line: &str) -> Option<Told> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("running ") {
        let (count, what) = rest.split_once(' ')?;
        let is_tests = ["test", "tests"].contains(&what);
        return is_tests
            .then(|| count.parse().ok().map(Told::Begins))
            .flatten();
    }
    let ends = [" ... ok", " ... FAILED", " ... ignored"];
    let has_ended = ends.iter().any(|end| line.ends_with(end));
    (line.starts_with("test ") && has_ended).then_some(Told::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_test_program_says_of_how_far_it_is_is_understood() {
        assert_eq!(told("running 62 tests"), Some(Told::Begins(62)));
        assert_eq!(told("  running 1 test"), Some(Told::Begins(1)));
        assert_eq!(told("running around tests"), None);
        assert_eq!(told("test a::b ... ok"), Some(Told::Ended));
        assert_eq!(told("test a::b ... FAILED"), Some(Told::Ended));
        assert_eq!(told("test result: ok. 1 passed"), None);
    }
}
