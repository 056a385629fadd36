//! Errors of the datapath: what was tried, what the kernel said, and the fix.

/// An error of the datapath: what was tried, what the kernel said, and the fix where one is known.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct DatapathError {
    pub(crate) kind: DatapathErrorKind,
    pub(crate) message: String,
    pub(crate) fix: Option<String>,
}

/// What a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatapathErrorKind {
    /// Another agent holds the pins.
    InUse,
    /// What is pinned is not this version's, or not Harbor's at all.
    Foreign,
    /// Whoever asks may not look.
    Denied,
    Failed,
}

impl DatapathError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Failed,
            message: message.into(),
            fix: None,
        }
    }

    pub(super) fn foreign(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Foreign,
            ..Self::with_fix(message, fix)
        }
    }

    pub(crate) fn with_fix(message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            kind: DatapathErrorKind::Failed,
            message: message.into(),
            fix: Some(fix.into()),
        }
    }
}

/// Names what was tried when the kernel refuses it.
pub(super) trait Tried<T> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, DatapathError>;
}

impl<T, E: std::error::Error> Tried<T> for Result<T, E> {
    fn tried(self, what: impl FnOnce() -> String) -> Result<T, DatapathError> {
        self.map_err(|error| {
            let mut message = format!("{}: {error}", what());
            let mut source = error.source();
            while let Some(cause) = source {
                let text = cause.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                source = cause.source();
            }
            DatapathError::new(message)
        })
    }
}
