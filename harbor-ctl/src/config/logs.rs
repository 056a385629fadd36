//! Logs in the configuration.

use super::check::Check;

/// `[log]`
#[derive(Clone, Debug)]
pub(crate) struct LogConfig {
    pub(crate) level: log::LevelFilter,
    pub(crate) datapath: log::LevelFilter,
    /// `daily`, `hourly` or `never`.
    pub(crate) rotate: String,
    pub(crate) keep: usize,
    /// Of one file, in bytes.
    pub(crate) size: u64,
}

impl Check {
    pub(super) fn log(&mut self) -> LogConfig {
        LogConfig {
            level: self.level("log.level"),
            datapath: self.level("log.datapath"),
            rotate: self.text("log.rotate"),
            keep: self.number("log.keep") as usize,
            size: self.number("log.size_mib").unsigned_abs() << 20,
        }
    }

    fn level(&mut self, key: &str) -> log::LevelFilter {
        // A bad level was already reported.
        self.text(key).parse().unwrap_or(log::LevelFilter::Info)
    }
}
