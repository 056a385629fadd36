//! What systemd is told: ready, a headline, alive, stopping. Without systemd all of it is silent.

use std::time::Duration;

use sd_notify::NotifyState;

pub(super) fn ready(headline: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(headline)]);
}

pub(super) fn status(headline: &str) {
    send(&[NotifyState::Status(headline)]);
}

pub(super) fn alive() {
    send(&[NotifyState::Watchdog]);
}

pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// How often [`alive`] is expected, if at all.
pub(super) fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}
