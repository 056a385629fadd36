//! The host's clock may be set while deadlines run, by years where it was wrong: what was to last for
//! a while lasts for that while.
//!
//! Deadlines are kept as seconds since 1970, because they outlive the agent. A running agent sees the
//! clock being set, and moves its own deadlines along; one that starts finds those that a clock which was
//! ahead has left, and shortens them to what was meant.

use std::{collections::BTreeSet, time::Duration};

use super::{Controller, services::Mark};
use crate::{
    datapath,
    model::{BackendState, Service, now},
    registry::Registry,
};

/// A clock that is slewed moves by less between two rounds.
const SET: i64 = 5;
/// What was created further ahead of now than this was created by a clock that was wrong.
const AHEAD: u64 = 86_400;

/// The longest rest that nodes are believed to give each other's numbers.
const SHARED_REST: Duration = Duration::from_secs(3_600);

/// The clock as it was when it was looked at last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: u64,
    since_boot: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            wall: now(),
            since_boot: datapath::since_boot(),
        }
    }

    /// By how many seconds the clock was set since it was looked at last; 0: it only went on.
    fn look(&mut self, wall: u64, since_boot: Duration) -> i64 {
        let went_on = since_boot.saturating_sub(self.since_boot).as_secs();
        let expected = self.wall.saturating_add(went_on);
        let by = wall.cast_signed().saturating_sub(expected.cast_signed());
        if by.abs() < SET {
            // Not taken over: small steps add up to one that is seen.
            return 0;
        }
        *self = Self { wall, since_boot };
        by
    }
}

impl<R: Registry> Controller<R> {
    /// Moves deadlines along if the clock was set.
    pub(super) async fn keep_time(&mut self) {
        let by = self.clock.look(now(), datapath::since_boot());
        if by == 0 {
            return;
        }
        tracing::warn!("the host's clock was set by {by} s: deadlines move along");
        for id in self.with_deadlines() {
            let shift = |service: &mut Service| {
                service.shift_deadlines(by);
                Ok(())
            };
            if let Err(refusal) = self.enforce(&id, shift).await {
                tracing::error!(id, "its deadlines were not moved: {refusal}");
            }
        }
        self.shorten_rests().await;
    }

    /// Shortens deadlines that a clock which was ahead has left behind.
    pub(crate) async fn right_deadlines(&mut self) {
        let time = now();
        for id in self.with_deadlines() {
            let right = |service: &mut Service| {
                service.right_deadlines(time);
                Ok(())
            };
            if let Err(refusal) = self.enforce(&id, right).await {
                tracing::error!(id, "its deadlines were not shortened: {refusal}");
            }
        }
        self.shorten_rests().await;
    }

    /// No number rests for longer than numbers do now. Nodes that share a registry may have another rest
    /// each: there only what a clock has left is too long.
    pub(super) async fn shorten_rests(&mut self) {
        let rest = match R::IS_SHARED {
            true => self.running.config.rest.max(SHARED_REST),
            false => self.running.config.rest,
        };
        let latest = now().saturating_add(rest.as_secs());
        // Two clocks that count seconds differ by one now and then.
        if self.resting.values().all(|until| *until <= latest + 2) {
            return;
        }
        match self.registry.limit_rests(latest).await {
            Ok(()) => {
                let each = self.resting.values_mut();
                each.for_each(|until| *until = latest.min(*until));
            }
            Err(error) if self.registry.condition().away.is_some() => {
                tracing::debug!("rests are shortened later: {error}");
            }
            Err(error) => tracing::error!("rests were not shortened: {error}"),
        }
    }

    fn with_deadlines(&self) -> BTreeSet<String> {
        let leaving = self.services.with(Mark::Leaving);
        let all = leaving.chain(self.services.with(Mark::Expires));
        let own = all.filter(|service| self.keeps(service));
        own.map(|service| service.id.clone()).collect()
    }
}

impl Service {
    /// Moves everything that is to happen at a moment.
    fn shift_deadlines(&mut self, by: i64) {
        let shift = |moment: &mut u64| *moment = moment.saturating_add_signed(by);
        self.expires_at.iter_mut().for_each(shift);
        for backend in &mut self.backends {
            if let BackendState::Leaving { until } = &mut backend.state {
                shift(until);
            }
        }
    }

    /// Brings deadlines that are too far away back to what was meant: a drain never lasts longer than
    /// the port's, and a port that was created in the future lives for as long from now on.
    fn right_deadlines(&mut self, now: u64) {
        if self.created_at > now.saturating_add(AHEAD) {
            let ahead = self.created_at - now;
            self.created_at = now;
            self.shift_deadlines(-ahead.cast_signed());
        }
        let latest = now.saturating_add(self.settings.drain_s.into());
        for backend in &mut self.backends {
            if let BackendState::Leaving { until } = &mut backend.state {
                *until = latest.min(*until);
            }
        }
    }
}

#[cfg(test)]
mod tests;
