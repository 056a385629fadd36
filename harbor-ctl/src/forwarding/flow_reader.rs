//! Reads flows step by step, the kernel's and then the proxy's, on threads that may block.
//!
//! Between two steps nothing is held but the place: a client that takes its time holds no thread, and one
//! that goes away has read what it was sent, and nothing more.

use super::kernel::ForwardingError;
use crate::{datapath::FlowCursor, model::FlowRecord, proxy::FlowListing};

/// The flows that are meant, of both engines.
#[derive(Debug)]
pub(crate) struct FlowReader(Option<Stage>);

/// What is read next; both first read the kernel's.
#[derive(Debug)]
enum Stage {
    Kernel(FlowCursor, FlowListing),
    Proxy(FlowListing),
}

impl FlowReader {
    pub(super) fn new(kernel: Option<FlowCursor>, proxy: FlowListing) -> Self {
        Self(Some(match kernel {
            Some(cursor) => Stage::Kernel(cursor, proxy),
            None => Stage::Proxy(proxy),
        }))
    }

    /// Some thousand at most, in no order, or none although more follow; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<FlowRecord>>, ForwardingError> {
        let Some(stage) = self.0.take() else {
            return Ok(None);
        };
        let (rows, stage) = blocking(move || stage.read()).await??;
        self.0 = stage;
        Ok(Some(rows))
    }
}

impl Stage {
    fn read(self) -> Result<(Vec<FlowRecord>, Option<Self>), ForwardingError> {
        Ok(match self {
            Self::Kernel(mut cursor, proxy) => {
                let rows = cursor.rows()?;
                let next = match cursor.is_at_end() {
                    true => Self::Proxy(proxy),
                    false => Self::Kernel(cursor, proxy),
                };
                (rows, Some(next))
            }
            Self::Proxy(mut listing) => match listing.next() {
                Some(rows) => (rows, Some(Self::Proxy(listing))),
                None => (Vec::new(), None),
            },
        })
    }
}

/// Counts the kernel's flows without making anything of them.
pub(super) async fn count(mut cursor: FlowCursor) -> Result<u64, ForwardingError> {
    let mut count = 0;
    while !cursor.is_at_end() {
        let step = move || cursor.count().map(|more| (more, cursor));
        let (more, rest) = blocking(step).await??;
        count += more;
        cursor = rest;
    }
    Ok(count)
}

/// What keeps a thread waiting.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ForwardingError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ForwardingError::Ended)
}
