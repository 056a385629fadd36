//! Watches a connection: what it is waiting for, since when, and until when it may.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::door::Stream;
use crate::model::HttpLimits;

/// The longest pause between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The rest of a request's head.
    Head,
    /// A request.
    Idle,
    /// Its own answer; whoever answers bounds that.
    Busy,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    since: Instant,
    /// Since when the other end takes nothing of what is written.
    stalled: Option<Instant>,
    standing: Standing,
}

/// What a connection's client has shown so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Silent,
    Stranger,
    /// It has asked for something that it may have.
    Trusted,
}

/// Shared by a connection and those who watch it.
#[derive(Clone, Debug)]
pub(crate) struct Pulse(Arc<Mutex<State>>);

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Busy(Pulse);

impl Pulse {
    /// A connection that has just been accepted.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            phase: Phase::Head,
            since: Instant::now(),
            stalled: None,
            standing: Standing::Silent,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        let mut state = self.state();
        (state.phase, state.since) = (phase, Instant::now());
    }

    /// Its client has asked for something that it may have: strangers make room before it does.
    pub(crate) fn trust(&self) {
        self.state().standing = Standing::Trusted;
    }

    /// Its client has said something.
    pub(super) fn speaks(&self) {
        let mut state = self.state();
        state.standing = state.standing.max(Standing::Stranger);
    }

    pub(super) fn is_silent(&self) -> bool {
        self.state().standing == Standing::Silent
    }

    pub(super) fn is_trusted(&self) -> bool {
        self.state().standing == Standing::Trusted
    }

    /// Since when it has waited for a request, if it does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.phase != Phase::Busy).then_some(state.since)
    }

    /// A head has come: its request is being answered until the answer is dropped.
    pub(super) fn busy(&self) -> Busy {
        self.enter(Phase::Busy);
        Busy(self.clone())
    }

    fn deadline(&self, limits: &HttpLimits) -> Option<Instant> {
        let state = self.state();
        let stalled = state.stalled.map(|since| since + limits.idle_timeout);
        let phase = match state.phase {
            Phase::Head => Some(state.since + limits.header_timeout),
            Phase::Idle => Some(state.since + limits.idle_timeout),
            Phase::Busy => None,
        };
        stalled.into_iter().chain(phase).min()
    }

    /// Resolves when the other end has taken too long.
    pub(super) async fn overdue(&self, limits: &HttpLimits) {
        loop {
            let now = Instant::now();
            let left = self.deadline(limits).map(|end| end - now);
            match left {
                Some(Duration::ZERO) => return,
                // What it waits for may change meanwhile.
                left => tokio::time::sleep(left.map_or(LOOK, |left| left.min(LOOK))).await,
            }
        }
    }

    fn has_read(&self) {
        let mut state = self.state();
        if state.phase == Phase::Idle {
            (state.phase, state.since) = (Phase::Head, Instant::now());
        }
    }

    fn has_written(&self, is_pending: bool) {
        let mut state = self.state();
        state.stalled = match (is_pending, state.stalled) {
            (true, None) => Some(Instant::now()),
            (true, since) => since,
            (false, _) => None,
        };
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// A stream whose pulse is felt.
pub(super) struct Felt {
    pub(super) stream: Box<dyn Stream>,
    pub(super) pulse: Pulse,
}

impl AsyncRead for Felt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.has_read();
        }
        polled
    }
}

impl AsyncWrite for Felt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, octets);
        self.pulse.has_written(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> HttpLimits {
        HttpLimits {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            ..HttpLimits::default()
        }
    }

    fn left(pulse: &Pulse) -> Option<u64> {
        let deadline = pulse.deadline(&limits())?;
        Some((deadline - Instant::now()).as_secs_f64().round() as u64)
    }

    #[tokio::test]
    async fn each_thing_that_is_waited_for_has_its_time() {
        let pulse = Pulse::new();
        assert_eq!(left(&pulse), Some(10), "whoever says nothing");
        let busy = pulse.busy();
        pulse.has_read();
        assert_eq!(left(&pulse), None, "an answer may take long");
        pulse.has_written(true);
        assert_eq!(left(&pulse), Some(60), "but somebody must take it");
        pulse.has_written(false);
        drop(busy);
        assert_eq!(left(&pulse), Some(60));
        pulse.has_read();
        assert_eq!(left(&pulse), Some(10), "a head that has begun");
        let begun = pulse.idle_since();
        pulse.has_read();
        assert_eq!(pulse.idle_since(), begun, "more of it wins no time");
    }
}
