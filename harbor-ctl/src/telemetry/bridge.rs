//! Carries records of the `log` crate into the logs.
//!
//! aya-log hands the kernel programs' records to that crate with target `datapath`.

use log::{Level, Log, Metadata, Record};

/// Target of records that the kernel programs write.
pub(super) const TARGET_DATAPATH: &str = "datapath";
/// Target of records that libraries write.
const TARGET_LIBRARY: &str = "library";

struct Bridge;

impl Log for Bridge {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let (from, text) = (record.target(), record.args());
        if from == TARGET_DATAPATH {
            return match record.level() {
                Level::Error => tracing::error!(target: TARGET_DATAPATH, "{text}"),
                Level::Warn => tracing::warn!(target: TARGET_DATAPATH, "{text}"),
                Level::Info => tracing::info!(target: TARGET_DATAPATH, "{text}"),
                Level::Debug => tracing::debug!(target: TARGET_DATAPATH, "{text}"),
                Level::Trace => tracing::trace!(target: TARGET_DATAPATH, "{text}"),
            };
        }
        match record.level() {
            Level::Error => tracing::error!(target: TARGET_LIBRARY, from, "{text}"),
            Level::Warn => tracing::warn!(target: TARGET_LIBRARY, from, "{text}"),
            _ => {}
        }
    }

    fn flush(&self) {}
}

/// Becomes the process's logger; a second call changes nothing.
pub(super) fn start() {
    if log::set_logger(&Bridge).is_ok() {
        log::set_max_level(log::LevelFilter::Trace);
    }
}
