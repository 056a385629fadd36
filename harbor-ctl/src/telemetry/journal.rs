//! The journal, where systemd has connected standard error to it: lines keep their level as priority, and
//! their values as fields.

use std::os::unix::fs::MetadataExt as _;

use tracing_subscriber::{Layer, filter::DynFilterFn, registry::Registry as Subscribers};

use super::is_on;

/// Names of fields begin with it: `port` becomes `HARBOR_PORT`.
const PREFIX: &str = "HARBOR";
/// Where systemd says which stream is the journal's.
const STREAM: &str = "JOURNAL_STREAM";

/// Lines for the journal; none where standard error is not the journal's, or nobody listens there.
pub(super) fn layer() -> Option<Box<dyn Layer<Subscribers> + Send + Sync>> {
    let layer = is_stderr().then(tracing_journald::layer)?.ok()?;
    let layer = layer.with_field_prefix(Some(PREFIX.to_owned()));
    let wanted = DynFilterFn::new(|meta, _| is_on(meta));
    Some(layer.with_filter(wanted).boxed())
}

/// Whether standard error leads to the journal: the variable alone is inherited by whatever a unit starts.
pub(super) fn is_stderr() -> bool {
    let named = std::env::var(STREAM).unwrap_or_default();
    let own = std::fs::metadata("/proc/self/fd/2");
    own.is_ok_and(|own| named == format!("{}:{}", own.dev(), own.ino()))
}
