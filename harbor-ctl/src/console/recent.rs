//! One reading of much for all who look at the same time: pages that keep themselves fresh must not cost
//! a reading each, and no more than one is in memory.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::Mutex;

use crate::control::Answer;

/// How old a reading may be that a page which keeps itself fresh shows.
const FRESH: Duration = Duration::from_secs(1);
/// A reading that nobody asks for any more is given up.
const LEFT: Duration = Duration::from_secs(5);

/// The last reading, and when it was begun.
#[derive(Debug)]
pub(super) struct Recent<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Since when what a page shows may be known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Since(Instant);

impl Since {
    /// Whoever has just changed something is to see it.
    pub(super) fn now() -> Self {
        Self(Instant::now())
    }

    /// For a page that shows it already, and will again.
    pub(super) fn lately() -> Self {
        Self(
            Instant::now()
                .checked_sub(FRESH)
                .unwrap_or_else(Instant::now),
        )
    }
}

impl<T> Recent<T> {
    /// One that was begun since then; if there is none, it is made, while others wait for it.
    pub(super) async fn get(
        &self,
        since: Since,
        read: impl Future<Output = Answer<T>>,
    ) -> Answer<Arc<T>> {
        let mut last = self.0.lock().await;
        if let Some((begun, found)) = &*last
            && *begun >= since.0
        {
            return Ok(Arc::clone(found));
        }
        // Two are never in memory, unless somebody still draws a page from the one before.
        *last = None;
        let begun = Instant::now();
        let found = Arc::new(read.await?);
        *last = Some((begun, Arc::clone(&found)));
        Ok(found)
    }

    /// Gives up what nobody has asked for lately; while one is made somebody has.
    pub(super) fn tidy(&self) {
        if let Ok(mut last) = self.0.try_lock() {
            last.take_if(|(begun, _)| begun.elapsed() > LEFT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::model::Refusal;

    #[tokio::test]
    async fn who_waits_shares_and_who_has_changed_something_sees_it() {
        let (recent, reads) = (Recent::default(), AtomicUsize::new(0));
        let read = || async { Ok(reads.fetch_add(1, Relaxed) + 1) };
        assert_eq!(*recent.get(Since::now(), read()).await.unwrap(), 1);
        assert_eq!(*recent.get(Since::lately(), read()).await.unwrap(), 1);
        let before = Since::now();
        assert_eq!(*recent.get(before, read()).await.unwrap(), 2);
        assert_eq!(*recent.get(before, read()).await.unwrap(), 2);
        assert_eq!(*recent.get(Since::now(), read()).await.unwrap(), 3);
        recent.tidy();
        assert_eq!(*recent.get(Since::lately(), read()).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_failure_is_not_kept() {
        let recent = Recent::default();
        let fails = async { Err(Refusal::failed("away".to_owned())) };
        assert!(recent.get(Since::now(), fails).await.is_err());
        let works = async { Ok(1) };
        assert_eq!(*recent.get(Since::lately(), works).await.unwrap(), 1);
    }
}
