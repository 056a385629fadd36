//! What a check has found, and what mends it.

use serde::{Deserialize, Serialize};

/// How an assumption was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    /// There is nothing to look at.
    Skipped,
    /// It works, and costs something or will not work for ever.
    Warning,
    /// It does not work.
    Fault,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// Mends one thing; answers with what was done, or why it was not.
pub(crate) type Mend = Box<dyn FnOnce() -> Result<String, String>>;

/// What one look has found.
pub(crate) struct Finding {
    pub(crate) state: State,
    pub(crate) text: String,
    pub(crate) fix: Option<String>,
    pub(crate) mend: Option<Mend>,
}

impl Finding {
    pub(super) fn new(state: State, text: impl Into<String>) -> Self {
        Self {
            state,
            text: text.into(),
            fix: None,
            mend: None,
        }
    }

    pub(super) fn ok(text: impl Into<String>) -> Self {
        Self::new(State::Ok, text)
    }

    pub(super) fn skipped(text: impl Into<String>) -> Self {
        Self::new(State::Skipped, text)
    }

    pub(super) fn warning(text: impl Into<String>) -> Self {
        Self::new(State::Warning, text)
    }

    pub(super) fn fault(text: impl Into<String>) -> Self {
        Self::new(State::Fault, text)
    }

    /// What a person does about it.
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What `--fix` does about it; only what harms nobody else.
    pub(super) fn mend(mut self, mend: impl FnOnce() -> Result<String, String> + 'static) -> Self {
        self.mend = Some(Box::new(mend));
        self
    }
}

/// All that is wrong, or that all is well.
pub(super) fn or_ok(findings: Vec<Finding>, text: impl Into<String>) -> Vec<Finding> {
    match findings.is_empty() {
        true => vec![Finding::ok(text)],
        false => findings,
    }
}
