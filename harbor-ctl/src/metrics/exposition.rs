//! How a scrape is answered: in the format that was asked for, and never twice at a time.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use tokio::sync::Mutex;

use super::scrape::older;

const OPEN_METRICS: &str = "application/openmetrics-text";
const OPEN_METRICS_FULL: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_FULL: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whoever knows what there is to be told.
pub(crate) trait Source: Clone + Send + Sync + 'static {
    /// All metrics as of now, as OpenMetrics.
    fn metrics(&self) -> impl Future<Output = Arc<str>> + Send;
}

/// The last scrape as long as somebody is sent it, and when it was begun.
type Last = Option<(Instant, Weak<str>)>;

/// Has one scrape made at a time: whoever comes while others wait shares theirs.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneAtATime(Arc<Mutex<Last>>);

impl OneAtATime {
    /// The answer of a scrape that was begun after this was asked.
    pub(crate) async fn share(&self, scrape: impl Future<Output = String> + Send) -> Arc<str> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((begun, text)) = &*last
            && *begun >= asked
            && let Some(text) = text.upgrade()
        {
            return text;
        }
        let begun = Instant::now();
        let text: Arc<str> = scrape.await.into();
        *last = Some((begun, Arc::downgrade(&text)));
        text
    }
}

/// A scrape on its way to one of those who share it: nobody has a copy of his own.
struct Shared(Arc<str>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// All metrics, in the format that the headers ask for.
pub(crate) async fn response<S: Source>(source: &S, headers: &HeaderMap) -> Response {
    let text = source.metrics().await;
    let accepted = headers.get_all(header::ACCEPT).iter();
    let is_open = accepted
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains(OPEN_METRICS));
    let (kind, body) = match is_open {
        true => (
            OPEN_METRICS_FULL,
            Body::from(Bytes::from_owner(Shared(text))),
        ),
        false => (PROMETHEUS_FULL, Body::from(older(&text))),
    };
    let kind = HeaderValue::from_static(kind);
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    #[tokio::test]
    async fn those_who_wait_share_one_scrape_and_nobody_gets_an_old_one() {
        let (turns, made) = (OneAtATime::default(), Arc::new(AtomicUsize::new(0)));
        let scrape = || {
            let made = Arc::clone(&made);
            async move {
                tokio::task::yield_now().await;
                made.fetch_add(1, Relaxed).to_string()
            }
        };
        let (first, second, third) = tokio::join!(
            turns.share(scrape()),
            turns.share(scrape()),
            turns.share(scrape())
        );
        assert_eq!([&*first, &*second, &*third], ["0", "1", "1"]);
        assert_eq!(&*turns.share(scrape()).await, "2");
    }
}
