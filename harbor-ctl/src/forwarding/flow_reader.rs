//! Reads flows step by step, the kernel's and then the proxy's, on threads that may block.
//!
//! Between two steps nothing is held but the place: a client that takes its time holds no thread, and one
//! that goes away has read what it was sent, and nothing more.

use super::kernel::ForwardingError;
use crate::{
    datapath::FlowCursor,
    model::{FlowRecord, Protocol},
    proxy::{FlowListing, FlowPlace},
};

/// The flows that are meant, of both engines.
#[derive(Debug)]
pub(crate) struct FlowReader(Option<Stage>);

/// The names of stages in a place that is told.
const TABLES: [&str; 2] = ["4", "6"];
const PROXY: &str = "p";

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

    /// Where the next step begins, in words that [`Self::go_to`] understands; `None` at the end.
    pub(crate) fn place(&self) -> Option<String> {
        Some(match self.0.as_ref()? {
            Stage::Kernel(cursor, _) => {
                let (is_v6, bucket) = cursor.place();
                let table = TABLES[usize::from(is_v6)];
                bucket.map_or_else(|| table.to_owned(), |bucket| format!("{table}-{bucket}"))
            }
            Stage::Proxy(listing) => {
                let (worker, FlowPlace { protocol, index }) = listing.place();
                format!("{PROXY}-{worker}-{protocol}-{index}")
            }
        })
    }

    /// Goes on at such a place; whether it is one.
    pub(crate) fn go_to(&mut self, place: &str) -> bool {
        let words: Vec<&str> = place.split('-').collect();
        let known = match (words[..].split_first(), self.0.take()) {
            (Some((&PROXY, rest)), Some(Stage::Kernel(_, proxy) | Stage::Proxy(proxy))) => {
                in_proxy(rest, proxy)
            }
            (Some((table, rest)), Some(Stage::Kernel(cursor, proxy))) => {
                in_tables(table, rest, cursor).map(|cursor| Stage::Kernel(cursor, proxy))
            }
            // The tables are gone: what follows them is left.
            (Some((table, _)), proxy) if TABLES.contains(table) => proxy,
            _ => None,
        };
        self.0 = known;
        self.0.is_some()
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
            Self::Proxy(mut listing) => match listing.next().transpose()? {
                Some(rows) => (rows, Some(Self::Proxy(listing))),
                None => (Vec::new(), None),
            },
        })
    }
}

fn in_tables(table: &str, rest: &[&str], mut cursor: FlowCursor) -> Option<FlowCursor> {
    let is_v6 = table == TABLES[1];
    let bucket = match rest {
        [] => None,
        [bucket] => Some(bucket.parse().ok()?),
        _ => return None,
    };
    TABLES
        .contains(&table)
        .then(|| cursor.go_to((is_v6, bucket)))?;
    Some(cursor)
}

fn in_proxy(rest: &[&str], mut listing: FlowListing) -> Option<Stage> {
    let [worker, protocol, index] = rest else {
        return None;
    };
    let protocols = [Protocol::Tcp, Protocol::Udp];
    let place = FlowPlace {
        protocol: protocols
            .into_iter()
            .find(|own| own.to_string() == *protocol)?,
        index: index.parse().ok()?,
    };
    listing.go_to((worker.parse().ok()?, place));
    Some(Stage::Proxy(listing))
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
