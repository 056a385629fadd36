//! Files are read and written where that keeps nobody: the runtime has few threads, and a file server
//! that hangs may hang for ever. That one does is noticed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::Refusal;

/// Files that take longer do not answer.
const LONG: Duration = Duration::from_secs(3);

pub(super) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Refusal::failed(error.to_string()))
}

/// Since when files are being read, by whoever has their turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading(Arc<Mutex<Option<Instant>>>);

impl Reading {
    /// They are being read until the answer is dropped.
    pub(super) fn begin(&self) -> ReadingNow {
        self.set(Some(Instant::now()));
        ReadingNow(self.clone())
    }

    /// For how long they have not answered, if that is too long.
    pub(super) fn unanswered(&self) -> Option<Duration> {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = since.map(|since| since.elapsed());
        lasts.filter(|lasts| *lasts >= LONG)
    }

    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

/// Files are being read.
#[derive(Debug)]
pub(super) struct ReadingNow(Reading);

impl Drop for ReadingNow {
    fn drop(&mut self) {
        self.0.set(None);
    }
}
