//! The state of the view and its keys; knows no terminal.

use std::cmp::Reverse;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::sample::{Detail, TopPort, TopReport};
use crate::cli::failure::Failure;

/// By what ports are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Rate,
    Flows,
    New,
    Refused,
    Port,
}

impl Order {
    const ALL: [Self; 5] = [
        Self::Rate,
        Self::Flows,
        Self::New,
        Self::Refused,
        Self::Port,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Flows => "flows",
            Self::New => "new flows",
            Self::Refused => "refused",
            Self::Port => "port",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL
            .iter()
            .position(|order| *order == self)
            .unwrap_or_default();
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    fn key(self, port: &TopPort) -> (Reverse<u64>, u16) {
        // Rates of a thousandth count; below that nothing is seen anyway.
        let per_s = |rate: f64| (rate * 1_000.0) as u64;
        let value = match self {
            Self::Rate => port.carried(),
            Self::Flows => port.flows.unwrap_or_default(),
            Self::New => per_s(port.new_flows_per_s.unwrap_or_default()),
            Self::Refused => per_s(port.refused_flows_per_s.unwrap_or_default()),
            Self::Port => 0,
        };
        (Reverse(value), port.port)
    }
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Draw,
    /// Something else is shown now, and has to be asked for.
    Look,
    End,
}

#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) report: TopReport,
    /// Why there is no newer report.
    pub(super) trouble: Option<String>,
    pub(super) order: Order,
    /// The port that is chosen; it stays so wherever it moves to.
    chosen: Option<u16>,
    is_inside: bool,
    pub(super) is_paused: bool,
    pub(super) detail: Option<Result<Detail, Failure>>,
}

impl View {
    /// Takes over what was seen; what was seen before stays when nobody answers.
    pub(super) fn take(&mut self, looked: Result<TopReport, Failure>) {
        match looked {
            Ok(report) => {
                self.report = report;
                self.trouble = None;
                self.sort();
            }
            Err(failure) => self.trouble = Some(failure.description().to_owned()),
        }
    }

    fn sort(&mut self) {
        let order = self.order;
        self.report.items.sort_by_key(|port| order.key(port));
        if self.chosen().is_none() {
            self.chosen = self.report.items.first().map(|port| port.port);
        }
    }

    /// Where the chosen port stands.
    pub(super) fn chosen(&self) -> Option<usize> {
        let mut items = self.report.items.iter();
        items.position(|port| Some(port.port) == self.chosen)
    }

    /// The port whose backends and clients are shown.
    pub(super) fn inside(&self) -> Option<u16> {
        self.chosen.filter(|_| self.is_inside)
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Then {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('q') | KeyCode::F(10) => return Then::End,
            KeyCode::Char('c') if is_control => return Then::End,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-10),
            KeyCode::PageDown => self.step(10),
            KeyCode::Home => self.step(isize::MIN / 2),
            KeyCode::End => self.step(isize::MAX / 2),
            KeyCode::Char('s') | KeyCode::F(6) => {
                self.order = self.order.next();
                self.sort();
            }
            KeyCode::Char('p') => self.is_paused = !self.is_paused,
            KeyCode::Enter if !self.is_inside && self.chosen.is_some() => {
                (self.is_inside, self.detail, self.is_paused) = (true, None, false);
                return Then::Look;
            }
            KeyCode::Esc | KeyCode::Backspace => (self.is_inside, self.detail) = (false, None),
            _ => {}
        }
        Then::Draw
    }

    fn step(&mut self, by: isize) {
        if self.is_inside || self.report.items.is_empty() {
            return;
        }
        let last = self.report.items.len() - 1;
        let at = self.chosen().unwrap_or_default();
        let at = at.saturating_add_signed(by).min(last);
        self.chosen = Some(self.report.items[at].port);
    }
}
