//! How far a measurement is, on a terminal only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar over so many rounds of what is measured; gone when they are done.
pub(crate) fn rounds(what: &str, count: usize) -> ProgressBar {
    let bar = ProgressBar::new(count as u64).with_message(what.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{msg}: round {pos} of {len} [{bar:30}] {eta}")
    {
        bar.set_style(style);
    }
    bar.tick();
    bar
}
