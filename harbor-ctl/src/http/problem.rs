//! What stands in the way of a listener, for whoever shows it.

use std::sync::{Arc, Mutex, PoisonError};

/// Why nobody listens by TCP, while nobody does although somebody should.
#[derive(Clone, Debug, Default)]
pub(crate) struct TcpProblem(Arc<Mutex<Option<String>>>);

impl TcpProblem {
    pub(crate) fn text(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shows what stands in the way; whether that is new.
    pub(crate) fn show(&self, text: &str) -> bool {
        let is_new = self.text().as_deref() != Some(text);
        self.set(Some(text.to_owned()));
        is_new
    }

    /// Somebody listens.
    pub(crate) fn clear(&self) {
        self.set(None);
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}
