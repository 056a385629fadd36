//! Shows on a terminal that something takes its time; nothing of it is seen in a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::session::Session;

/// How often it is drawn.
const TICK: Duration = Duration::from_millis(200);

/// Stands on the last line until it is dropped.
#[derive(Debug)]
pub(super) struct Progress(ProgressBar);

impl Session {
    /// Says what is being done, and for how long already.
    pub(super) fn progress(&self, what: String) -> Progress {
        let bar = ProgressBar::new_spinner();
        if self.globals.quiet {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        // One that is not understood leaves the usual one.
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
