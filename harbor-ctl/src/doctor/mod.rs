//! What Harbor assumes of its host, and whether it is so: a table of checks, each with why it matters and
//! what to do.
//!
//! [`CHECKS`] is the table; a check looks at a [`Patient`] and answers with [`Finding`]s. It changes
//! nothing: what can be mended without harm to others comes as a [`Mend`], which is run by whoever was
//! told to. Works without an agent; what only an agent knows is handed in.

mod agent;
mod credentials;
mod folders;
mod kernel;
mod network;
mod patient;
mod registry;
mod table;

use serde::{Deserialize, Serialize};

pub(crate) use self::registry::ask as ask_registry;
pub(crate) use patient::{AgentFacts, Patient};
pub(crate) use table::{CHECKS, Check};

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
    fn new(state: State, text: impl Into<String>) -> Self {
        Self {
            state,
            text: text.into(),
            fix: None,
            mend: None,
        }
    }

    fn ok(text: impl Into<String>) -> Self {
        Self::new(State::Ok, text)
    }

    fn skipped(text: impl Into<String>) -> Self {
        Self::new(State::Skipped, text)
    }

    fn warning(text: impl Into<String>) -> Self {
        Self::new(State::Warning, text)
    }

    fn fault(text: impl Into<String>) -> Self {
        Self::new(State::Fault, text)
    }

    /// What a person does about it.
    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What `--fix` does about it; only what harms nobody else.
    fn mend(mut self, mend: impl FnOnce() -> Result<String, String> + 'static) -> Self {
        self.mend = Some(Box::new(mend));
        self
    }
}

/// All that is wrong, or that all is well.
fn or_ok(findings: Vec<Finding>, text: impl Into<String>) -> Vec<Finding> {
    match findings.is_empty() {
        true => vec![Finding::ok(text)],
        false => findings,
    }
}
