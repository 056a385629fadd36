//! Errors in a configuration: all of them at once, each with its place and its fix.

use std::{fmt, path::Path};

use crate::model::{Refusal, RefusalKind};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// `FILE:LINE:COLUMN`, or the variable or flag that said it.
    pub(crate) place: String,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

impl Problem {
    /// Something in the place of a drop-in that is no file.
    pub(super) fn left_out(path: &Path, error: &std::io::Error) -> Self {
        Self {
            place: path.display().to_string(),
            message: format!("it is left out: {error}"),
            fix: Some("remove it, or put a file in its place".into()),
        }
    }

    /// Line and column, for the order in which problems are told.
    pub(crate) fn position(&self) -> (usize, usize) {
        let mut numbers = self
            .place
            .rsplitn(3, ':')
            .map(|part| part.parse().unwrap_or(usize::MAX));
        let column = numbers.next().unwrap_or(usize::MAX);
        (numbers.next().unwrap_or(usize::MAX), column)
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigError {
    /// In the order of the lines; never empty.
    pub(crate) problems: Vec<Problem>,
}

impl ConfigError {
    pub(crate) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let fix = match error.kind() {
            std::io::ErrorKind::NotFound => Some("give an existing file with --config".to_owned()),
            _ => None,
        };
        let message = format!("the configuration cannot be read: {error}");
        Self {
            problems: vec![Problem {
                place: path.display().to_string(),
                message,
                fix,
            }],
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [one] = self.problems.as_slice() {
            write!(f, "{}: {}", one.place, one.message)?;
            return one.fix.as_ref().map_or(Ok(()), |fix| write!(f, "; {fix}"));
        }
        write!(f, "the configuration has {} errors", self.problems.len())?;
        for problem in &self.problems {
            write!(f, "\n{}: {}", problem.place, problem.message)?;
            if let Some(fix) = &problem.fix {
                write!(f, "; {fix}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        match error.problems.as_slice() {
            [
                Problem {
                    place,
                    message,
                    fix,
                },
            ] => Self {
                fix: fix.clone(),
                ..Self::new(RefusalKind::Invalid, format!("{place}: {message}"))
            },
            _ => Self::new(RefusalKind::Invalid, error.to_string()),
        }
    }
}
