//! Notifies systemd: ready, status line, watchdog, stopping. Does nothing without systemd.

use std::time::Duration;

use sd_notify::NotifyState;

pub(crate) fn ready(headline: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(headline)]);
}

pub(crate) fn status(headline: &str) {
    send(&[NotifyState::Status(headline)]);
}

pub(crate) fn alive() {
    send(&[NotifyState::Watchdog]);
}

pub(crate) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] is expected, if at all.
pub(crate) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}
